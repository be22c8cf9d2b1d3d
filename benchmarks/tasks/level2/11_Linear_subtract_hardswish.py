"""A linear layer (32768 × 1024 → 4096), a learned vector subtracted, hardswish."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 32768
in_features = 1024
out_features = 4096


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.offset = nn.Parameter(torch.randn(out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.hardswish(self.linear(x) - self.offset)


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
