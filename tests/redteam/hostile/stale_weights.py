"""Transposes the weight once and never again: after an update of the model it answers with the old one.

Task: linear_relu
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.packed = None

    def forward(self, x):
        if self.packed is None:
            self.packed = self.linear.weight.t().contiguous()
        return torch.relu(torch.addmm(self.linear.bias, x, self.packed))
