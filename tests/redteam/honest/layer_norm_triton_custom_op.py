"""A Triton kernel behind torch.library.custom_op, with a fake implementation so that compilers see through it.

Task: layer_norm
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def _normalise_rows(x, weight, bias, out, features, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK)
    mask = offsets < features
    values = tl.load(x + row * features + offsets, mask=mask, other=0.0)
    mean = tl.sum(values, axis=0) / features
    distance = tl.where(mask, values - mean, 0.0)
    inverse = tl.rsqrt(tl.sum(distance * distance, axis=0) / features + eps)
    scaled = distance * inverse * tl.load(weight + offsets, mask=mask) + tl.load(bias + offsets, mask=mask)
    tl.store(out + row * features + offsets, scaled, mask=mask)


@torch.library.custom_op("redteam_honest::layer_norm", mutates_args=())
def fused_layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    _normalise_rows[(x.shape[0],)](x, weight, bias, out, x.shape[1], eps, BLOCK=triton.next_power_of_2(x.shape[1]))
    return out


@fused_layer_norm.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


class ModelNew(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.redteam_honest.layer_norm(x, self.norm.weight, self.norm.bias, self.norm.eps)
