"""A linear layer (1024 × 8192 → 8192), batch norm by running statistics, a scalar bias, divided, Swish."""

import torch
from torch import nn

batch_size = 1024
in_features = 8192
out_features = 8192
divisor = 1.5


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.norm = nn.BatchNorm1d(out_features)
        nn.init.uniform_(self.norm.running_mean, -1, 1)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        self.bias = nn.Parameter(torch.randn(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = (self.norm(self.linear(x)) + self.bias) / divisor
        return y * torch.sigmoid(y)


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
