"""Product of a matrix that lies transposed (8192 × 2048) and an 8192 × 4096 one."""

import torch
from torch import nn

rows = 2048
inner = 8192
columns = 4096


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a.T, b)


def get_inputs():
    return [torch.randn(inner, rows), torch.randn(inner, columns)]


def get_init_inputs():
    return []
