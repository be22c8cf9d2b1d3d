"""A linear layer of few rows (128 × 16384 → 16384), the larger of each two features, summed over the row, halved."""

import torch
from torch import nn

batch_size = 128
in_features = 16384
out_features = 16384
pool = 2
scale = 0.5


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int, pool: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.pool = nn.MaxPool1d(pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(self.linear(x).unsqueeze(1)).squeeze(1)
        return y.sum(dim=1) * scale


def get_inputs():
    return [torch.randn(batch_size, in_features) * (1 + 9 * torch.rand(batch_size, 1))]


def get_init_inputs():
    return [in_features, out_features, pool]
