"""A matrix (8192 × 8192) times another, times a vector: two matrix-vector products by algebra."""

import torch
from torch import nn

rows = 8192
inner = 8192
columns = 8192


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.matmul(torch.matmul(a, b), v)


def get_inputs():
    return [torch.randn(rows, inner), torch.randn(inner, columns), torch.randn(columns, 1)]


def get_init_inputs():
    return []
