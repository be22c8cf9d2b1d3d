"""The sum of every row: little output for much input, so work left out is hard to see."""

import torch
import torch.nn as nn

rows = 512
columns = 4096


class Model(nn.Module):
    def forward(self, x):
        return torch.sum(x, dim=1, keepdim=True)


def get_inputs():
    return [torch.rand(rows, columns)]


def get_init_inputs():
    return []
