"""The entropy of a softmax along wide rows: three row reductions that a compiler runs as several passes."""

import torch
from torch import nn

batch_size = 512
dim = 16384


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (batch_size, dim) float32 -> (batch_size,) float32."""
        return -(torch.softmax(x, dim=1) * torch.log_softmax(x, dim=1)).sum(dim=1)


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(batch_size, dim)]


def get_init_inputs() -> list[object]:
    return []
