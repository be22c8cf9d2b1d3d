"""A linear layer over sequences (16 × 1024 tokens of 2048 → 8192), GELU, a factor for each feature."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 16
tokens = 1024
in_features = 2048
out_features = 8192


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.scale = nn.Parameter(torch.randn(out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.linear(x)) * self.scale


def get_inputs():
    return [torch.randn(batch_size, tokens, in_features)]


def get_init_inputs():
    return [in_features, out_features]
