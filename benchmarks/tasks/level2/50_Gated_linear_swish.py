"""Two linear layers of one input (4096 × 4096 → 11264): the Swish of one times the other."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 4096
features = 4096
hidden = 11264


class Model(nn.Module):
    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(features, hidden, bias=False)
        self.up = nn.Linear(features, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(self.gate(x)) * self.up(x)


def get_inputs():
    return [torch.randn(batch_size, features)]


def get_init_inputs():
    return [features, hidden]
