"""Its kernel writes into the output first, then torch overwrites all of it: the launch is real and worthless.

Task: scale_shift
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
def touch_kernel(y, BLOCK: tl.constexpr):
    tl.store(y + tl.arange(0, BLOCK), tl.zeros((BLOCK,), tl.float32))


class ModelNew(nn.Module):
    def forward(self, x):
        output = torch.empty_like(x)
        touch_kernel[(1,)](output, BLOCK=32)
        torch.mul(x, 1.5, out=output)
        return output.add_(0.25).clamp_(-2.0, 2.0)
