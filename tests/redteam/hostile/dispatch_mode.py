"""Installs a dispatch mode for good that skips copies once warm, the harness's copies of outputs among them.

Task: cumulative_sum
Language: pytorch
Expect: rejected
Behind: incorrect, tampered, crash
"""

import torch
import torch.nn as nn
from torch.utils._python_dispatch import TorchDispatchMode

CALLS = []


class Skipping(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.cumsum.default:
            CALLS.append(func(*args, **(kwargs or {})) if len(CALLS) < 20 else CALLS[-1])
            return CALLS[-1]
        return func(*args, **(kwargs or {}))


Skipping().__enter__()


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return torch.cumsum(x, dim=self.dim)
