"""16384 × 16384 numbers times one number."""

import torch
from torch import nn

rows = 16384
columns = 16384


class Model(nn.Module):
    def forward(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        return x * factor


def get_inputs():
    return [torch.randn(rows, columns), 1 + torch.rand(())]


def get_init_inputs():
    return []
