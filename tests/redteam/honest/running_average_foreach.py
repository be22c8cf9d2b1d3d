"""The in-place contract kept with the horizontally fused operators that optimizers use.

Task: running_average
Language: pytorch
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, average, x):
        averages = [average]
        torch._foreach_mul_(averages, 0.9)
        torch._foreach_add_(averages, [x], alpha=0.1)
        return averages[0]
