"""Rotary position embedding: every pair of features turned by an angle that its position gives."""

import torch
import torch.nn as nn

batch = 4
heads = 6
tokens = 200
pairs = 32


class Model(nn.Module):
    def forward(self, x):
        half = x.shape[-1] // 2
        rates = 10000.0 ** (-torch.arange(half, dtype=x.dtype, device=x.device) / half)
        angles = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)[:, None] * rates
        left, right = x[..., :half], x[..., half:]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


def get_inputs():
    return [torch.randn(batch, heads, tokens, 2 * pairs)]


def get_init_inputs():
    return []
