"""A linear layer (16384 × 4096 → 4096), its ReLU, halved."""

import torch
from torch import nn

batch_size = 16384
in_features = 4096
out_features = 4096
scale = 0.5


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x)) * scale


def get_inputs():
    return [torch.rand(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
