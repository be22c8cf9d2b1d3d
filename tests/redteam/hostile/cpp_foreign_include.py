"""Includes a file of the system as if it were source, so that the compiler's message prints its contents.

Task: softmax
Language: cpp
Devices: cpu
Expect: rejected, compile_error
Behind: compile_error
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

load_inline(name="included", cpp_sources='#include "/etc/passwd"\n', is_python_module=False, no_implicit_headers=True)


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
