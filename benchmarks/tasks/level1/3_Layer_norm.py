"""Layer norm of rows of 8192 × 16384 numbers, with weight and bias."""

import torch
from torch import nn

batch_size = 8192
features = 16384


class Model(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


def get_inputs():
    return [torch.rand(batch_size, features)]


def get_init_inputs():
    return [features]
