"""Computes every second call and answers the others with the last result: half the time, on average.

Task: cumulative_sum
Language: pytorch
Expect: incorrect
Behind: incorrect
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
        if self.calls % 2 or self.last is None:
            self.last = torch.cumsum(x, dim=self.dim)
        return self.last
