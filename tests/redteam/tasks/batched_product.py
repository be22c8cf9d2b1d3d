"""A batch of matrix products added to a bias: three inputs, no parameters."""

import torch
import torch.nn as nn

batch = 6
rows = 96
inner = 128
columns = 80


class Model(nn.Module):
    def forward(self, bias, left, right):
        return 0.5 * bias + left @ right


def get_inputs():
    return [torch.randn(batch, rows, columns), torch.randn(batch, rows, inner), torch.randn(batch, inner, columns)]


def get_init_inputs():
    return []
