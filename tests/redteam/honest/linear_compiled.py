"""torch.compile inside the candidate, on a free function of tensors.

Task: linear_relu
Language: pytorch
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


@torch.compile(dynamic=False)
def linear_relu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.relu(F.linear(x, weight, bias))


class ModelNew(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear_relu(x, self.linear.weight, self.linear.bias)
