"""A correct candidate for level1/2_Cumulative_sum.py that is the reference over again: not faster."""

import torch
from torch import nn


class ModelNew(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(self.dim)
