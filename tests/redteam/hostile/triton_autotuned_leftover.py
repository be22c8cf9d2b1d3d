"""Launches once, keeps the output, and afterwards launches a grid of no programs over the same memory.

Task: row_sum
Language: triton
Devices: cuda
Expect: incorrect, tampered
Behind: incorrect, tampered
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def sum_kernel(x, y, columns, active, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    if active > 0:
        offsets = tl.arange(0, BLOCK)
        total = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, columns, BLOCK):
            total += tl.load(x + row * columns + start + offsets, mask=start + offsets < columns, other=0.0)
        tl.store(y + row, tl.sum(total))


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.output = None

    def forward(self, x):
        x = x.contiguous()
        self.calls += 1
        if self.output is None or self.output.shape[0] != x.shape[0]:
            self.output = torch.empty(x.shape[0], 1, device=x.device)
        sum_kernel[(x.shape[0],)](x, self.output, x.shape[1], int(self.calls <= 20), BLOCK=1024)
        return self.output
