"""Layer norm of 32 × 2048 tokens of 4096 numbers."""

import torch
from torch import nn

batch_size = 32
tokens = 2048
features = 4096


class Model(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


def get_inputs():
    return [torch.randn(batch_size, tokens, features)]


def get_init_inputs():
    return [features]
