"""Product of two matrices that lie transposed (8192 × 2048, 4096 × 8192)."""

import torch
from torch import nn

rows = 2048
inner = 8192
columns = 4096


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a.T, b.T)


def get_inputs():
    return [torch.randn(inner, rows), torch.randn(columns, inner)]


def get_init_inputs():
    return []
