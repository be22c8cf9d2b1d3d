"""Product of a 16384 × 16384 and a 16384 × 32 matrix: all input."""

import torch
from torch import nn

rows = 16384
inner = 16384
columns = 32


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b


def get_inputs():
    return [torch.randn(rows, inner), torch.randn(inner, columns)]


def get_init_inputs():
    return []
