"""Product of a 32768 × 32 and a 32 × 16384 matrix: all output."""

import torch
from torch import nn

rows = 32768
inner = 32
columns = 16384


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b


def get_inputs():
    return [torch.randn(rows, inner), torch.randn(inner, columns)]


def get_init_inputs():
    return []
