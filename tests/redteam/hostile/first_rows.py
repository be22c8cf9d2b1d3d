"""Computes the first eighth of the rows and repeats it: a test that looks at the beginning sees nothing wrong.

Task: softmax
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        part = torch.softmax(x[: max(x.shape[0] // 8, 1)], dim=1)
        return part.repeat(-(-x.shape[0] // part.shape[0]), 1)[: x.shape[0]]
