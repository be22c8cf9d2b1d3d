"""Leaves out the mask of the last block: right wherever the size is a multiple of the block.

Task: scale_shift
Language: triton
Devices: cuda
Fresh: yes
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def scale_kernel(x, y, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(x + offsets) * 1.5 + 0.25
    tl.store(y + offsets, tl.minimum(tl.maximum(values, -2.0), 2.0))


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        output = torch.empty_like(x)
        scale_kernel[(x.numel() // 1024,)](x, output, BLOCK=1024)
        return output
