"""A Triton kernel that updates its first input in place, whatever the strides of the two.

Task: running_average
Language: triton
Devices: cuda
"""

import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def update_kernel(average_ptr, x_ptr, columns, stride_ar, stride_ac, stride_xr, stride_xc, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    at = average_ptr + row * stride_ar + column * stride_ac
    x = tl.load(x_ptr + row * stride_xr + column * stride_xc, mask=inside)
    tl.store(at, tl.load(at, mask=inside) * 0.9 + x * 0.1, mask=inside)


class ModelNew(nn.Module):
    def forward(self, average, x):
        rows, columns = average.shape
        grid = (rows, triton.cdiv(columns, 1024))
        update_kernel[grid](average, x, columns, *average.stride(), *x.stride(), BLOCK=1024)
        return average
