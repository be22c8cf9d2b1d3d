"""Product of two lower triangular 4096 × 4096 matrices."""

import torch
from torch import nn

size = 4096


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.tril(torch.matmul(a, b))


def get_inputs():
    return [torch.tril(torch.randn(size, size)), torch.tril(torch.randn(size, size))]


def get_init_inputs():
    return []
