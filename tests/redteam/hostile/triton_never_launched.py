"""Brings a Triton kernel that always raises and falls back to torch in `except`: the claim is Triton's.

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
def softmax_kernel(x, y, columns, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * columns + tl.arange(0, BLOCK)
    tl.store(y + offsets, tl.load(x + offsets))


class ModelNew(nn.Module):
    def forward(self, x):
        try:
            if x.shape[1] > 0:
                raise NotImplementedError
            y = torch.empty_like(x)
            softmax_kernel[(x.shape[0],)](x, y, x.shape[1], BLOCK=16384)
            return y
        except NotImplementedError:
            return torch.softmax(x, dim=1)
