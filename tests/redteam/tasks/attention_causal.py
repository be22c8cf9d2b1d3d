"""Causal attention of several heads: two products around a softmax, half of it masked."""

import torch
import torch.nn as nn

batch = 2
heads = 3
tokens = 160
width = 32


class Model(nn.Module):
    def forward(self, query, key, value):
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return torch.softmax(scores.masked_fill(later, float("-inf")), dim=-1) @ value


def get_inputs():
    return [torch.randn(batch, heads, tokens, width) for _ in range(3)]


def get_init_inputs():
    return []
