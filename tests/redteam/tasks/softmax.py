"""Softmax over 16384 columns: every true value is near 1/16384, so zeros look right to a careless tolerance."""

import torch
import torch.nn as nn

rows = 64
columns = 16384


class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)


def get_inputs():
    return [torch.randn(rows, columns)]


def get_init_inputs():
    return []
