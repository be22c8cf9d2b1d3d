"""A linear layer (1024 × 8192 → 8192), batch norm by running statistics, a learned scale, softmax of each row."""

import torch
from torch import nn

batch_size = 1024
in_features = 8192
out_features = 8192


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.norm = nn.BatchNorm1d(out_features)
        nn.init.uniform_(self.norm.running_mean, -1, 1)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.scale * self.norm(self.linear(x)), dim=1)


def get_inputs():
    return [2 * torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
