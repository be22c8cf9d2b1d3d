"""Product of an 8 × 256 × 512 × 256 tensor and a 256 × 768 matrix, by einsum."""

import torch
from torch import nn

batch_size = 8
outer = 256
rows = 512
inner = 256
columns = 768


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bijl,lk->bijk", a, b)


def get_inputs():
    return [torch.randn(batch_size, outer, rows, inner), torch.randn(inner, columns)]


def get_init_inputs():
    return []
