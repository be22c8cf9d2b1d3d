"""Replaces torch.cuda.Event.elapsed_time: every pair of events is a microsecond apart.

Task: softmax
Language: pytorch
Devices: cuda
Expect: rejected
Behind: tampered
"""

import torch
import torch.nn as nn

torch.cuda.Event.elapsed_time = lambda self, other: 1e-3


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
