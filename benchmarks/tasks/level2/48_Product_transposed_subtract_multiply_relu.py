"""Rows times a transposed matrix (1024 × 8192 × 8192), one number subtracted, times another, ReLU."""

import torch
from torch import nn

batch_size = 1024
in_features = 8192
out_features = 8192
subtracted = 0.5
factor = 1.5


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / in_features**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu((torch.matmul(x, self.weight.T) - subtracted) * factor)


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
