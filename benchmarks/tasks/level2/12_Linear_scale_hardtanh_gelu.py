"""A linear layer (2048 × 8192 → 8192), scaled, cut to ±2 by hardtanh, GELU."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 2048
in_features = 8192
out_features = 8192


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.hardtanh(self.linear(x) * 0.75, -2.0, 2.0)
        return F.gelu(y)


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
