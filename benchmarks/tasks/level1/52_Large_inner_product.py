"""Product of a 256 × 524288 and a 524288 × 256 matrix."""

import torch
from torch import nn

rows = 256
inner = 524288
columns = 256


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(rows, inner), torch.randn(inner, columns)]


def get_init_inputs():
    return []
