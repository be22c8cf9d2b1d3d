"""A flat Triton kernel over the memory of any dense layout; the output keeps the layout of the input.

Task: scale_shift
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def scale_shift_kernel(x_ptr, out_ptr, size, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < size
    value = tl.load(x_ptr + index, mask=inside) * 1.5 + 0.25
    tl.store(out_ptr + index, tl.clamp(value, -2.0, 2.0), mask=inside)


class ModelNew(nn.Module):
    def forward(self, x):
        out = torch.empty_like(x)
        if out.stride() != x.stride():  # x is not dense
            x = x.contiguous()
            out = torch.empty_like(x)
        scale_shift_kernel[(triton.cdiv(x.numel(), 2048),)](x, out, x.numel(), BLOCK=2048)
        return out
