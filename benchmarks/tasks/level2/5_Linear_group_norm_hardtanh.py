"""A linear layer (16384 × 4096 → 4096), group norm in 16 groups, clamped to ±2."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 16384
in_features = 4096
out_features = 4096
groups = 16


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int, groups: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.norm = nn.GroupNorm(groups, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.hardtanh(self.norm(self.linear(x)), -2.0, 2.0)


def get_inputs():
    return [torch.rand(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features, groups]
