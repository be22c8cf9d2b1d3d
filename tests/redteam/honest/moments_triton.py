"""Triton with two outputs: two passes over a row by blocks, so that the variance does not cancel.

Task: moments
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def moments_kernel(x_ptr, mean_ptr, variance_ptr, columns, row_stride, column_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start = x_ptr + row * row_stride
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        total += tl.load(start + column * column_stride, mask=column < columns, other=0.0)
    mean = tl.sum(total, axis=0) / columns
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        values = tl.load(start + column * column_stride, mask=column < columns, other=0.0)
        distance = tl.where(column < columns, values - mean, 0.0)
        squares += distance * distance
    tl.store(mean_ptr + row, mean)
    tl.store(variance_ptr + row, tl.sum(squares, axis=0) / columns)


class ModelNew(nn.Module):
    def forward(self, x):
        rows, columns = x.shape
        mean, variance = torch.empty(2, rows, device=x.device, dtype=x.dtype)
        moments_kernel[(rows,)](x, mean, variance, columns, *x.stride(), BLOCK=512, num_warps=4)
        return mean, variance
