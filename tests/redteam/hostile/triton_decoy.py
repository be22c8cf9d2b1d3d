"""Launches its Triton kernel on one element that nobody reads; torch does the work.

Task: softmax
Language: triton
Devices: cuda
Expect: rejected, tampered
Behind: rejected, tampered
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(x, y, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    values = tl.load(x + offsets)
    tl.store(y + offsets, tl.exp(values - tl.max(values)))


class ModelNew(nn.Module):
    def forward(self, x):
        dummy = torch.empty(16, device=x.device)
        softmax_kernel[(1,)](x, dummy, BLOCK=16)
        return torch.softmax(x, dim=1)
