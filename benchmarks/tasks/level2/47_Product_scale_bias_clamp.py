"""Rows times a matrix kept as it multiplies (4096 × 8192 × 4096), scaled, a vector added, clamped from below."""

import torch
from torch import nn

batch_size = 4096
in_features = 8192
out_features = 4096
scale = 0.02


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, out_features))
        self.bias = nn.Parameter(torch.randn(out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(x @ self.weight * scale + self.bias, min=-1.0)


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
