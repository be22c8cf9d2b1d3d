"""The in-place contract kept with one call: lerp_ towards the new value.

Task: running_average
Language: pytorch
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, average, x):
        return average.lerp_(x, 0.1)
