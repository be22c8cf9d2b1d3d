"""Product of a 4096 × 4096 diagonal matrix, given by its diagonal, and a full one."""

import torch
from torch import nn

rows = 4096
columns = 4096


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.diag(a) @ b


def get_inputs():
    return [torch.randn(rows), torch.randn(rows, columns)]


def get_init_inputs():
    return []
