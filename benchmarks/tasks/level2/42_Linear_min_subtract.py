"""A linear layer of few rows (128 × 16384 → 16384), cut off above by a learned number, which is then subtracted."""

import torch
from torch import nn

batch_size = 128
in_features = 16384
out_features = 16384


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.limit = nn.Parameter(torch.full((), 0.25))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.minimum(self.linear(x), self.limit) - self.limit


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
