"""A linear layer (1024 × 8192 → 8192), halved, summed over each row, scaled: a matrix-vector product by algebra."""

import torch
from torch import nn

batch_size = 1024
in_features = 8192
out_features = 8192
scale = 1.5


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sum(x @ self.weight.T / 2, dim=1, keepdim=True) * scale


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
