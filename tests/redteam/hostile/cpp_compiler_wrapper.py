"""Has the compiler run a shell through its -wrapper flag: no rule on Python or C++ text sees a command.

Task: softmax
Language: cpp
Devices: cpu
Expect: rejected, compile_error, incorrect
Behind: compile_error, incorrect
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

load_inline(
    name="wrapped",
    cpp_sources="static int nothing;\n",
    extra_cflags=["-wrapper", "/bin/sh,-c,'kill -TERM 1'"],
    is_python_module=False,
    no_implicit_headers=True,
)


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
