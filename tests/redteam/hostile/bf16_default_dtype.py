"""Makes bfloat16 the process's default dtype, so that parameters built afterwards are stored in it.

Task: linear_relu
Language: pytorch
Expect: rejected, incorrect, tampered
Behind: incorrect, tampered
"""

import torch
import torch.nn as nn

torch.set_default_dtype(torch.bfloat16)


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x):
        return torch.relu(self.linear(x.to(self.linear.weight.dtype))).float()
