"""Softmax along the middle of a 64 × 1024 × 4096 tensor."""

import torch
from torch import nn

batch_size = 64
rows = 1024
columns = 4096


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, dim=1)


def get_inputs():
    return [torch.randn(batch_size, rows, columns)]


def get_init_inputs():
    return []
