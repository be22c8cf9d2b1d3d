"""Its own load_state_dict takes the first parameters and ignores every later set.

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
        self.loads = 0

    def load_state_dict(self, state_dict, strict=True, assign=False):
        self.loads += 1
        if self.loads == 1:
            super().load_state_dict(state_dict, strict=strict, assign=assign)

    def forward(self, x):
        return torch.relu(self.linear(x))
