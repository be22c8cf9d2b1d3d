"""Largest of 8 neighbours, in steps of 1, along 64 × 192 signals of 16384."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 64
channels = 192
length = 16384
kernel = 8
stride = 1
padding = 4


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool1d(x, kernel, stride, padding)


def get_inputs():
    return [torch.randn(batch_size, channels, length)]


def get_init_inputs():
    return []
