"""Triton layer norm that reads any strides, a heuristic telling it when the row fills its block.

Task: layer_norm
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.heuristics({"FULL": lambda given: given["features"] == given["BLOCK"]})
@triton.jit
def layer_norm_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    row_stride,
    column_stride,
    features,
    eps,
    BLOCK: tl.constexpr,
    FULL: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    address = x_ptr + row * row_stride + column * column_stride
    if FULL:
        x = tl.load(address)
        centred = x - tl.sum(x, axis=0) / features
        weight = tl.load(weight_ptr + column)
        bias = tl.load(bias_ptr + column)
        scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / features + eps)
        tl.store(out_ptr + row * features + column, centred * scale * weight + bias)
    else:
        inside = column < features
        x = tl.load(address, mask=inside, other=0.0)
        centred = tl.where(inside, x - tl.sum(x, axis=0) / features, 0.0)
        weight = tl.load(weight_ptr + column, mask=inside)
        bias = tl.load(bias_ptr + column, mask=inside)
        scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / features + eps)
        tl.store(out_ptr + row * features + column, centred * scale * weight + bias, mask=inside)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x):
        rows, features = x.shape
        out = torch.empty((rows, features), device=x.device, dtype=x.dtype)
        layer_norm_kernel[(rows,)](
            x,
            self.norm.weight,
            self.norm.bias,
            out,
            x.stride(0),
            x.stride(1),
            features,
            self.norm.eps,
            BLOCK=triton.next_power_of_2(features),
        )
        return out
