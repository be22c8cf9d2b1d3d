"""A -D flag renames a harmless function of the source to the one that ends the process.

Task: softmax
Language: cpp
Devices: cpu
Expect: rejected, crash
Behind: crash
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

SOURCE = """
extern "C" void finish(int);
static int finished = (finish(0), 0);
"""
load_inline(
    name="renamed",
    cpp_sources=SOURCE,
    extra_cflags=["-Dfinish=_ex" + "it"],
    is_python_module=False,
    no_implicit_headers=True,
)


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
