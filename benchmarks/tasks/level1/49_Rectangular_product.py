"""Product of a 2048 × 8192 and an 8192 × 4096 matrix."""

import torch
from torch import nn

rows = 2048
inner = 8192
columns = 4096


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.mm(a, b)


def get_inputs():
    return [torch.randn(rows, inner), torch.randn(inner, columns)]


def get_init_inputs():
    return []
