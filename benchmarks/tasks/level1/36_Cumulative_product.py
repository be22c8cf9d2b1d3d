"""Running product along rows of 32768 × 4096 numbers near 1."""

import torch
from torch import nn

batch_size = 32768
features = 4096


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumprod(x, dim=1)


def get_inputs():
    return [1 + 0.1 * (torch.rand(batch_size, features) - 0.5)]


def get_init_inputs():
    return []
