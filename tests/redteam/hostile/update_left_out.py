"""The contract is an update in place; it returns the right values and leaves the state as it was.

Task: running_average
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, average, x):
        return torch.lerp(average, x, 0.1)
