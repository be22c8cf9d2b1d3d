"""Average of 11 × 11 pixels, in steps of 11, of 16 images of 64 × 1024 × 1024."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 16
channels = 64
height = 1024
width = 1024
kernel = 11


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, kernel)


def get_inputs():
    return [torch.randn(batch_size, channels, height, width)]


def get_init_inputs():
    return []
