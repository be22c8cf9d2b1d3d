"""Mean along the last dimension of a 64 × 2048 × 4095 tensor."""

import torch
from torch import nn

batch_size = 64
rows = 2048
columns = 4095


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mean(x, dim=2)


def get_inputs():
    return [torch.randn(batch_size, rows, columns)]


def get_init_inputs():
    return []
