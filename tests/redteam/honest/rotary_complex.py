"""The rotation as one complex product.

Task: rotary_embedding
Language: pytorch
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        rates = 10000.0 ** (-torch.arange(half, dtype=x.dtype, device=x.device) / half)
        angles = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)[:, None] * rates
        turned = torch.complex(x[..., :half].contiguous(), x[..., half:].contiguous())
        turned = turned * torch.polar(torch.ones_like(angles), angles)
        return torch.cat((turned.real, turned.imag), dim=-1)
