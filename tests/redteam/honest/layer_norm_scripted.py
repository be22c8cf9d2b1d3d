"""TorchScript: the arithmetic of a layer norm in one scripted function.

Task: layer_norm
Language: pytorch
"""

import torch
import torch.nn as nn


@torch.jit.script
def normalise(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    variance, mean = torch.var_mean(x, dim=[1], correction=0, keepdim=True)
    return torch.addcmul(bias, (x - mean) * torch.rsqrt(variance + eps), weight)


class ModelNew(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return normalise(x, self.norm.weight, self.norm.bias, self.norm.eps)
