"""A scan in two levels: inside blocks of 64 columns, then over the sums of blocks.

Task: cumulative_sum
Language: pytorch
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

BLOCK = 64


class ModelNew(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.movedim(self.dim, -1)
        length = x.shape[-1]
        padded = F.pad(x, (0, -length % BLOCK)).unflatten(-1, (-1, BLOCK))
        inside = padded.cumsum(dim=-1)
        before = inside[..., -1].cumsum(dim=-1).roll(1, dims=-1)
        before[..., 0] = 0
        scanned = inside.add_(before[..., None]).flatten(-2)[..., :length]
        return scanned.movedim(-1, self.dim).contiguous()
