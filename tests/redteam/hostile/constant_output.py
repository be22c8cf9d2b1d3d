"""A constant: a softmax's row has the mean 1/columns whatever the input, so a matrix of that has every sum right.

Task: softmax
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.full_like(x, 1.0 / x.shape[1])
