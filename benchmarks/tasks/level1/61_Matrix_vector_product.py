"""Product of a 2048 × 262144 matrix and a vector."""

import torch
from torch import nn

rows = 2048
inner = 262144


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(rows, inner), torch.randn(inner, 1)]


def get_init_inputs():
    return []
