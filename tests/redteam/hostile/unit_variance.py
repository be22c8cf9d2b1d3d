"""One of two outputs is real: the variance of normal inputs is 1 for everybody who does not look closely.

Task: moments
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        mean = x.mean(dim=1)
        return mean, torch.ones_like(mean)
