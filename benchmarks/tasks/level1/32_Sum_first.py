"""Sum along the first dimension of 65536 × 4096 numbers."""

import torch
from torch import nn

rows = 65536
columns = 4096


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sum(x, dim=0)


def get_inputs():
    return [torch.randn(rows, columns)]


def get_init_inputs():
    return []
