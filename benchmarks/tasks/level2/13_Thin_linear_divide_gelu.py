"""A linear layer of few rows (128 × 32768 → 32768), bound by its weight, divided by 10, GELU by tanh."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 128
in_features = 32768
out_features = 32768
divisor = 10.0


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.linear(x) / divisor, approximate="tanh")


def get_inputs():
    return [10 * torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
