"""Two linear layers (16384 × 2048 → 4096 → 1024) with a sigmoid between them, log-sum-exp of each row."""

import torch
from torch import nn

batch_size = 16384
in_features = 2048
hidden = 4096
out_features = 1024


class Model(nn.Module):
    def __init__(self, in_features: int, hidden: int, out_features: int):
        super().__init__()
        self.first = nn.Linear(in_features, hidden)
        self.second = nn.Linear(hidden, out_features)
        nn.init.normal_(self.second.weight, std=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sigmoid(self.first(x))
        return torch.logsumexp(self.second(y), dim=1)


def get_inputs():
    return [torch.randn(batch_size, in_features) * (1 + 9 * torch.rand(batch_size, 1))]


def get_init_inputs():
    return [in_features, hidden, out_features]
