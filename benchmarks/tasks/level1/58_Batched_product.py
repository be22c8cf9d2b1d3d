"""128 products of 512 × 1024 and 1024 × 2048 matrices."""

import torch
from torch import nn

batch_size = 128
rows = 512
inner = 1024
columns = 2048


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.bmm(a, b)


def get_inputs():
    return [torch.randn(batch_size, rows, inner), torch.randn(batch_size, inner, columns)]


def get_init_inputs():
    return []
