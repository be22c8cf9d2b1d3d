"""Product of a 16384 × 64 and a 64 × 16384 matrix."""

import torch
from torch import nn

rows = 16384
inner = 64
columns = 16384


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(rows, inner), torch.randn(inner, columns)]


def get_init_inputs():
    return []
