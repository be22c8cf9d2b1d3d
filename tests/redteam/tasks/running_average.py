"""An update in place, as optimizers and caches do it: the reference changes its first input and returns it."""

import torch
import torch.nn as nn

rows = 512
columns = 2048


class Model(nn.Module):
    def forward(self, average, x):
        return average.mul_(0.9).add_(x, alpha=0.1)


def get_inputs():
    return [torch.randn(rows, columns), torch.randn(rows, columns)]


def get_init_inputs():
    return []
