"""A linear layer (16384 × 2048 → 4096) plus one tensor, whose sigmoid gates another."""

import torch
from torch import nn

batch_size = 16384
in_features = 2048
out_features = 4096


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor, shift: torch.Tensor, gated: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.linear(x) + shift) * gated


def get_inputs():
    return [
        torch.randn(batch_size, in_features),
        torch.randn(batch_size, out_features),
        torch.randn(batch_size, out_features),
    ]


def get_init_inputs():
    return [in_features, out_features]
