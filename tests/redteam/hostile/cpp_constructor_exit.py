"""A C++ extension whose constructor ends the process with status 0 while it is being loaded.

Task: softmax
Language: cpp
Devices: cpu
Expect: rejected
Behind: crash
"""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

SOURCE = """
#include <unistd.h>
__attribute__((constructor)) static void leave() { _exit(0); }
"""
load_inline(name="leave", cpp_sources=SOURCE, is_python_module=False, no_implicit_headers=True)


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
