"""Product of an 8205 × 2949 and a 2949 × 5921 matrix."""

import torch
from torch import nn

rows = 8205
inner = 2949
columns = 5921


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(rows, inner), torch.randn(inner, columns)]


def get_init_inputs():
    return []
