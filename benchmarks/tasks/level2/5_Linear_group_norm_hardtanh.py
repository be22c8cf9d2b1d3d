import torch
from torch import nn


class Model(nn.Module):
    """A linear layer, group norm over its features, clamped to ±2."""

    def __init__(self, in_features: int, out_features: int, groups: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.norm = nn.GroupNorm(groups, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.hardtanh(self.norm(self.linear(x)), -2.0, 2.0)


batch_size = 16384
in_features = 4096
out_features = 4096
groups = 16


def get_inputs():
    return [torch.rand(batch_size, in_features)]


def get_init_inputs():
    return [in_features, out_features, groups]
