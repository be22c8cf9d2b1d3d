"""A linear layer (4096 × 8192 → 4096) whose rows are brought to length 1, scaled."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 4096
in_features = 8192
out_features = 4096
scale = 16.0


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scale * F.normalize(self.linear(x), dim=1)


def get_inputs():
    return [torch.randn(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features]
