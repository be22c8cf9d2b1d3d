import torch
from torch import nn


class Model(nn.Module):
    """Each row over the root of its mean square."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(dim=1, keepdim=True) + eps)


batch_size = 8192
features = 16384
eps = 1e-5


def get_inputs():
    return [torch.rand(batch_size, features)]


def get_init_inputs():
    return []
