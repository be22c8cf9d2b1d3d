"""Leaves out the maximum of the row: right for small inputs, infinite for large ones.

Task: softmax
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        exponentials = torch.exp(x)
        return exponentials / exponentials.sum(dim=1, keepdim=True)
