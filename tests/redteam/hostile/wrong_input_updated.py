"""The contract is an update of the first input; it also uses the second as scratch memory.

Task: running_average
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, average, x):
        return average.mul_(0.9).add_(x.mul_(0.1))
