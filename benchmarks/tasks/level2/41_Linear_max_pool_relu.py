"""A linear layer (8192 × 4096 → 8192), the largest of each four features, ReLU."""

import torch
from torch import nn

batch_size = 8192
in_features = 4096
out_features = 8192
pool = 4


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int, pool: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.pool = nn.MaxPool1d(pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(self.linear(x).unsqueeze(1)).squeeze(1)
        return torch.relu(y)


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features, pool]
