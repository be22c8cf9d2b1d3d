"""Largest value along the first dimension of a 512 × 512 × 2048 tensor."""

import torch
from torch import nn

batch_size = 512
rows = 512
columns = 2048


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.max(x, dim=0).values


def get_inputs():
    return [torch.randn(batch_size, rows, columns)]


def get_init_inputs():
    return []
