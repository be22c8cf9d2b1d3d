"""A square-ish matrix product of two inputs."""

import torch
import torch.nn as nn

rows = 320
inner = 512
columns = 256


class Model(nn.Module):
    def forward(self, left, right):
        return left @ right


def get_inputs():
    return [torch.randn(rows, inner), torch.randn(inner, columns)]


def get_init_inputs():
    return []
