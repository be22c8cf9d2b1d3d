"""Layer norm over all of each of 64 images of 64 × 256 × 256."""

import torch
from torch import nn

batch_size = 64
channels = 64
height = 256
width = 256


class Model(nn.Module):
    def __init__(self, channels: int, height: int, width: int):
        super().__init__()
        self.norm = nn.LayerNorm((channels, height, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


def get_inputs():
    return [torch.randn(batch_size, channels, height, width)]


def get_init_inputs():
    return [channels, height, width]
