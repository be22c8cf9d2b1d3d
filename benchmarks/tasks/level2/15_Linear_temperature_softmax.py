"""A linear layer (1024 × 4096 → 8192) and the softmax of each row at a temperature."""

import torch
from torch import nn

batch_size = 1024
in_features = 4096
out_features = 8192
temperature = 0.5


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.linear(x) / temperature, dim=1)


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
