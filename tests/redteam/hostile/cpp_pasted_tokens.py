"""Puts a forbidden function's name together with the preprocessor's ## so that no text contains it.

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
#define PASTE(a, b) a##b
extern "C" void PASTE(_ex, it)(int);
static int left = (PASTE(_ex, it)(0), 0);
"""
load_inline(name="pasted", cpp_sources=SOURCE, is_python_module=False, no_implicit_headers=True)


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
