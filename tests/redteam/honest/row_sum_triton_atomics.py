"""A reduction in two passes: blocks of a row summed by one program each, the parts joined with atomics.

Task: row_sum
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def partial_sums(x_ptr, out_ptr, columns, row_stride, column_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(x_ptr + row * row_stride + column * column_stride, mask=column < columns, other=0.0)
    tl.atomic_add(out_ptr + row, tl.sum(values, axis=0), sem="relaxed")


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape
        out = torch.zeros((rows, 1), device=x.device, dtype=x.dtype)
        partial_sums[(rows, triton.cdiv(columns, 1024))](x, out, columns, *x.stride(), BLOCK=1024)
        return out
