"""Autocast to bfloat16 where the policy says bf16, the result cast back to the dtype the task has.

Task: linear_relu
Language: pytorch
Precision: bf16
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x):
        with torch.autocast(device_type=x.device.type, dtype=torch.bfloat16):
            return torch.relu(self.linear(x)).to(x.dtype)
