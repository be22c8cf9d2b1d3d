"""A linear layer of few rows without bias (128 × 16384 → 16384), Swish, doubled."""

import torch
from torch import nn

batch_size = 128
in_features = 16384
out_features = 16384
scale = 2.0


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        return y * torch.sigmoid(y) * scale


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
