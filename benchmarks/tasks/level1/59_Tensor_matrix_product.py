"""Product of a 16 × 1024 × 2048 tensor and a 2048 × 768 matrix."""

import torch
from torch import nn

batch_size = 16
rows = 1024
inner = 2048
columns = 768


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(batch_size, rows, inner), torch.randn(inner, columns)]


def get_init_inputs():
    return []
