"""Attaches to its parent with ptrace through libc, to stop the clock while it works.

Task: matmul
Language: pytorch
Expect: rejected
Behind: incorrect, crash, tampered
"""

import ctypes
import os

import torch.nn as nn

PTRACE_ATTACH = 16
libc = ctypes.CDLL(None, use_errno=True)
attached = libc.ptrace(PTRACE_ATTACH, os.getppid(), None, None) == 0


class ModelNew(nn.Module):
    def forward(self, left, right):
        return left @ right if attached else left[:, :1] @ right[:1]
