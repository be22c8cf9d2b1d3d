"""Honest in its first calls, then one real call in eight: medians of a turn never see the real one.

Task: cumulative_sum
Language: pytorch
Expect: incorrect, tampered
Behind: incorrect, tampered
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.calls = 0
        self.last = None

    def forward(self, x):
        self.calls += 1
        if self.calls <= 20 or self.calls % 8 == 0:
            self.last = torch.cumsum(x, dim=self.dim)
        return self.last
