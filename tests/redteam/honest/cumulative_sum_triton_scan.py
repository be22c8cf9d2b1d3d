"""A Triton scan: blocks of a row one after another, the sum so far carried along.

Task: cumulative_sum
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def scan_rows(x_ptr, out_ptr, columns, row_stride, column_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    carry = 0.0
    for first in range(0, columns, BLOCK):
        column = first + tl.arange(0, BLOCK)
        inside = column < columns
        x = tl.load(x_ptr + row * row_stride + column * column_stride, mask=inside, other=0.0)
        tl.store(out_ptr + row * columns + column, tl.cumsum(x, axis=0) + carry, mask=inside)
        carry += tl.sum(x, axis=0)


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        if x.dim() != 2 or self.dim not in (1, -1):  # the kernel scans rows of a matrix; all else is PyTorch's
            return torch.cumsum(x, dim=self.dim)
        rows, columns = x.shape
        out = torch.empty((rows, columns), device=x.device, dtype=x.dtype)
        scan_rows[(rows,)](x, out, columns, *x.stride(), BLOCK=1024)
        return out
