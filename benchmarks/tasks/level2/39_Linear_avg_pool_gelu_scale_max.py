"""A linear layer (1024 × 8192 → 8192), averages over 16 features, GELU, scaled, the largest of each row."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 1024
in_features = 8192
out_features = 8192
pool = 16
scale = 2.0


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int, pool: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.pool = nn.AvgPool1d(pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pool(self.linear(x).unsqueeze(1)).squeeze(1)
        return torch.max(F.gelu(y) * scale, dim=1).values


def get_inputs():
    return [torch.randn(batch_size, in_features) * (1 + 9 * torch.rand(batch_size, 1))]


def get_init_inputs():
    return [in_features, out_features, pool]
