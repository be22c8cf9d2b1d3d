"""A linear layer (1024 × 8192 → 8192), the log-sum-exp of each row, its Mish."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 1024
in_features = 8192
out_features = 8192


class Model(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.mish(torch.logsumexp(self.linear(x), dim=1, keepdim=True))


def get_inputs():
    return [torch.randn(batch_size, in_features) * (1 + 9 * torch.rand(batch_size, 1))]


def get_init_inputs():
    return [in_features, out_features]
