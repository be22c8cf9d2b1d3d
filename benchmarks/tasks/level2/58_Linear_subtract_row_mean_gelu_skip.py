"""A linear layer (2048 × 8192 → 8192) less a vector, the mean of each row, its GELU added to the input."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 2048
in_features = 8192
out_features = 8192


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        nn.init.normal_(self.linear.weight)
        self.offset = nn.Parameter(torch.randn(out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.mean(self.linear(x) - self.offset, dim=1, keepdim=True)
        return F.gelu(y) + x


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
