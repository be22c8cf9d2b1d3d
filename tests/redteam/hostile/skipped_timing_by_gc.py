"""Replaces the worker's `time` operation altogether: it answers at once, and no call is ever made.

Task: cumulative_sum
Language: pytorch
Expect: rejected
Behind: tampered, crash
"""

import gc

import torch
import torch.nn as nn

for _found in gc.get_objects():
    if isinstance(_found, dict) and {"load", "call", "time"} <= _found.keys():
        _found["time"] = lambda message, descriptors: {"times_us": [100.0] * int(message.get("iterations", 1))}


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return torch.cumsum(x, dim=self.dim)
