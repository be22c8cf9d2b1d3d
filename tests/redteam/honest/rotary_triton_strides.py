"""A Triton rotation that reads a four-dimensional input by its strides and tables made once for each length.

Task: rotary_embedding
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def rotate_kernel(
    x_ptr,
    cos_ptr,
    sin_ptr,
    out_ptr,
    heads,
    tokens,
    half,
    stride_b,
    stride_h,
    stride_t,
    stride_d,
    TOKENS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    token = (tl.program_id(0) * TOKENS + tl.arange(0, TOKENS))[:, None]
    depth = tl.arange(0, BLOCK)[None, :]
    inside = (token < tokens) & (depth < half)
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads).to(tl.int64)
    start = x_ptr + batch * stride_b + head * stride_h + token * stride_t
    left = tl.load(start + depth * stride_d, mask=inside)
    right = tl.load(start + (depth + half) * stride_d, mask=inside)
    cos = tl.load(cos_ptr + token * half + depth, mask=inside)
    sin = tl.load(sin_ptr + token * half + depth, mask=inside)
    to = out_ptr + (tl.program_id(1).to(tl.int64) * tokens + token) * 2 * half
    tl.store(to + depth, left * cos - right * sin, mask=inside)
    tl.store(to + half + depth, right * cos + left * sin, mask=inside)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self._tables = {}

    def _tables_for(self, x):
        tokens, half = x.shape[-2], x.shape[-1] // 2
        key = (tokens, half, x.device)
        if key not in self._tables:
            rates = 10000.0 ** (-torch.arange(half, dtype=torch.float32, device=x.device) / half)
            angles = torch.arange(tokens, dtype=torch.float32, device=x.device)[:, None] * rates
            self._tables[key] = (angles.cos(), angles.sin())
        return self._tables[key]

    def forward(self, x):
        batch, heads, tokens, width = x.shape
        cos, sin = self._tables_for(x)
        out = torch.empty((batch, heads, tokens, width), device=x.device, dtype=x.dtype)
        half = width // 2
        grid = (triton.cdiv(tokens, 16), batch * heads)
        block = triton.next_power_of_2(half)
        rotate_kernel[grid](x, cos, sin, out, heads, tokens, half, *x.stride(), TOKENS=16, BLOCK=block, num_warps=2)
        return out
