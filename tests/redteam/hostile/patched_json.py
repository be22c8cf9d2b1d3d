"""Replaces json.dumps: whatever the worker reports, its times become a thousandth.

Task: cumulative_sum
Language: pytorch
Expect: rejected
Behind: tampered
"""

import json

import torch
import torch.nn as nn

_real = json.dumps


def _divided(value):
    if isinstance(value, dict):
        return {
            key: [us / 1000 for us in item] if key.endswith("_us") else _divided(item) for key, item in value.items()
        }
    return value


def _dumps(value, *args, **kwargs):
    return _real(_divided(value), *args, **kwargs)


json.dumps = _dumps


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return torch.cumsum(x, dim=self.dim)
