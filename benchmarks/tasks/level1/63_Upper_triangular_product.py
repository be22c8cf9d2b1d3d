"""Product of two upper triangular 4096 × 4096 matrices."""

import torch
from torch import nn

size = 4096


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.triu(torch.matmul(a, b))


def get_inputs():
    return [torch.triu(torch.randn(size, size)), torch.triu(torch.randn(size, size))]


def get_init_inputs():
    return []
