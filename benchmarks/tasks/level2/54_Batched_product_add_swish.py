"""128 products of 512 × 1024 and 1024 × 512 matrices added to a tensor, Swish."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 128
rows = 512
inner = 1024
columns = 512


class Model(nn.Module):
    def forward(self, added: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return F.silu(torch.baddbmm(added, a, b, alpha=0.05))


def get_inputs():
    return [
        torch.randn(batch_size, rows, columns),
        torch.randn(batch_size, rows, inner),
        torch.randn(batch_size, inner, columns),
    ]


def get_init_inputs():
    return []
