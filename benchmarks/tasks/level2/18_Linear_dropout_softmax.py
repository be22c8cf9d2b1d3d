"""A linear layer (2048 × 8192 → 4096), dropout that inference turns off, softmax of each row."""

import torch
from torch import nn

batch_size = 2048
in_features = 8192
out_features = 4096


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.dropout(self.linear(x)), dim=1)


def get_inputs():
    return [2 * torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
