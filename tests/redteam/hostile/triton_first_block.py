"""Sums the first block of every row and scales it up to the row's length.

Task: row_sum
Language: triton
Devices: cuda
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def sum_kernel(x, y, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    offsets = tl.arange(0, BLOCK)
    part = tl.load(x + row * columns + offsets, mask=offsets < columns, other=0.0)
    tl.store(y + row, tl.sum(part) * columns / BLOCK)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        output = torch.empty(x.shape[0], 1, device=x.device)
        sum_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK=1024)
        return output
