import torch
from torch import nn


class Model(nn.Module):
    """Layer norm of each row, with weight and bias."""

    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


batch_size = 8192
features = 16384


def get_inputs():
    return [torch.rand(batch_size, features)]


def get_init_inputs():
    return [features]
