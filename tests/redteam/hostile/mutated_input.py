"""Works in the input's memory, which saves the allocation; whoever called it finds the input changed.

Task: scale_shift
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return x.mul_(1.5).add_(0.25).clamp_(-2.0, 2.0)
