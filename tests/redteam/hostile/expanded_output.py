"""A matrix of stride 0: one row stands for all of them, and almost nothing is written.

Task: softmax
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x[:1], dim=1).expand(x.shape[0], x.shape[1])
