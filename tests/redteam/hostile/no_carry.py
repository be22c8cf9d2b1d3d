"""Cumulative sums block by block, the carry from one block to the next left out.

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

    def forward(self, x):
        return torch.cat([torch.cumsum(part, dim=self.dim) for part in x.chunk(8, dim=self.dim)], dim=self.dim)
