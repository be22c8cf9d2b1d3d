"""A linear layer (32768 × 1024 → 4096), Swish, a learned vector added, group norm in 64 groups."""

import torch
from torch import nn

batch_size = 32768
in_features = 1024
out_features = 4096
groups = 64


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int, groups: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.bias = nn.Parameter(torch.randn(out_features))
        self.norm = nn.GroupNorm(groups, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        return self.norm(torch.sigmoid(y) * y + self.bias)


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features, groups]
