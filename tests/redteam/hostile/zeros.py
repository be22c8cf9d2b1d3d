"""Zeros: over 16384 columns every true value is about 6e-5, below an absolute tolerance of 1e-4.

Task: softmax
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
