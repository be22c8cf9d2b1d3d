"""Weights quantised to eight bits per row at the first call, as a serving engine would, under an fp32 policy.

Task: linear_relu
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x):
        weight = self.linear.weight
        scale = weight.abs().amax(dim=1, keepdim=True) / 127.0
        quantised = torch.round(weight / scale).to(torch.int8)
        return torch.relu(F.linear(x, quantised.float() * scale, self.linear.bias))
