"""Two linear layers (8192 × 2048 → 8192 → 2048) with GELU between them, the input added."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 8192
features = 2048
hidden = 8192


class Model(nn.Module):
    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(features, hidden)
        self.down = nn.Linear(hidden, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.gelu(self.up(x)))


def get_inputs():
    return [torch.randn(batch_size, features)]


def get_init_inputs():
    return [features, hidden]
