"""Group norm in 8 groups of 64 images of 64 × 256 × 256."""

import torch
from torch import nn

batch_size = 64
groups = 8
channels = 64
size = 256


class Model(nn.Module):
    def __init__(self, groups: int, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


def get_inputs():
    return [torch.rand(batch_size, channels, size, size)]


def get_init_inputs():
    return [groups, channels]
