"""Eager's result for every tenth row, and for the others noise of the same mean and spread.

Task: layer_norm
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x):
        output = torch.randn_like(x)
        output[::10] = self.norm(x[::10])
        return output
