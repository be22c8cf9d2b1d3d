"""A linear layer of few rows (128 × 16384 → 16384), GELU, softmax of each row."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 128
in_features = 16384
out_features = 16384


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softmax(F.gelu(self.linear(x)), dim=-1)


def get_inputs():
    return [4 * torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
