"""Addition and RMS norm in one Triton kernel with two outputs; rows too long for one block go to PyTorch.

Task: rms_norm_residual
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

LONGEST = 16384


@triton.jit
def add_norm_kernel(
    x_ptr, residual_ptr, weight_ptr, normed_ptr, hidden_ptr, features, x_row, residual_row, eps, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    feature = tl.arange(0, BLOCK)
    inside = feature < features
    hidden = tl.load(x_ptr + row * x_row + feature, mask=inside, other=0.0)
    hidden += tl.load(residual_ptr + row * residual_row + feature, mask=inside, other=0.0)
    tl.store(hidden_ptr + row * features + feature, hidden, mask=inside)
    scale = 1.0 / tl.sqrt(tl.sum(hidden * hidden, axis=0) / features + eps)
    weight = tl.load(weight_ptr + feature, mask=inside)
    tl.store(normed_ptr + row * features + feature, hidden * scale * weight, mask=inside)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x, residual):
        tokens, features = x.shape
        if features > LONGEST:
            hidden = x + residual
            return nn.functional.rms_norm(hidden, (features,), self.weight, eps=1e-6), hidden
        x, residual = (part if part.stride(1) == 1 else part.contiguous() for part in (x, residual))
        normed = torch.empty((tokens, features), device=x.device, dtype=x.dtype)
        hidden = torch.empty_like(normed)
        add_norm_kernel[(tokens,)](
            x,
            residual,
            self.weight,
            normed,
            hidden,
            features,
            x.stride(0),
            residual.stride(0),
            1e-6,
            BLOCK=triton.next_power_of_2(features),
        )
        return normed, hidden
