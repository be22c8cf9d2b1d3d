"""Two linear layers (8192 × 1024 → 8192 → 1024) with nothing between them, ReLU: one small layer by algebra."""

import torch
from torch import nn

batch_size = 8192
features = 1024
hidden = 8192


class Model(nn.Module):
    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(features, hidden)
        self.down = nn.Linear(hidden, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.down(self.up(x)))


def get_inputs():
    return [torch.randn(batch_size, features)]


def get_init_inputs():
    return [features, hidden]
