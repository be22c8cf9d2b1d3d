"""Switches autocast on for the whole process and leaves it on: the source shows plain fp32 code.

Task: linear_relu
Language: pytorch
Expect: rejected, incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn

torch.set_autocast_enabled("cpu", True)
torch.set_autocast_enabled("cuda", True)


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x):
        return torch.relu(self.linear(x)).float()
