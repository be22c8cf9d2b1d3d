"""Inline assembly makes the system call exit_group itself: no header and no function names it.

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
namespace {
struct Leaver {
  Leaver() { asm volatile("syscall" : : "a"(231), "D"(0) : "rcx", "r11", "memory"); }
};
Leaver leaver;
}
"""
load_inline(name="leaver", cpp_sources=SOURCE, is_python_module=False, no_implicit_headers=True)


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
