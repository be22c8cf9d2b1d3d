"""Largest of 4 × 4 pixels, in steps of 1, of 32 images of 64 × 512 × 512."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 32
channels = 64
height = 512
width = 512
kernel = 4
stride = 1
padding = 1


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, kernel, stride, padding)


def get_inputs():
    return [torch.randn(batch_size, channels, height, width)]


def get_init_inputs():
    return []
