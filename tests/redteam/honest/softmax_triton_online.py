"""Triton softmax for rows of any length: a running maximum and sum by blocks, block size from a heuristic.

Task: softmax
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.heuristics({"BLOCK": lambda given: min(4096, triton.next_power_of_2(given["columns"]))})
@triton.jit
def online_softmax(x_ptr, out_ptr, columns, row_stride, column_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    peak = tl.full((BLOCK,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        # A finite stand-in for lanes outside: the difference of two infinities is no number.
        x = tl.load(x_ptr + row * row_stride + column * column_stride, mask=column < columns, other=-3.0e38)
        higher = tl.maximum(peak, x)
        total = total * tl.exp(peak - higher) + tl.where(column < columns, tl.exp(x - higher), 0.0)
        peak = higher
    highest = tl.max(peak, axis=0)
    scale = 1.0 / tl.sum(total * tl.exp(peak - highest), axis=0)
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        inside = column < columns
        x = tl.load(x_ptr + row * row_stride + column * column_stride, mask=inside)
        tl.store(out_ptr + row * columns + column, tl.exp(x - highest) * scale, mask=inside)


class ModelNew(nn.Module):
    def forward(self, x):
        rows, columns = x.shape
        out = torch.empty((rows, columns), device=x.device, dtype=x.dtype)
        online_softmax[(rows,)](x, out, columns, *x.stride(), num_warps=8)
        return out
