"""A tensor subclass whose comparisons all say yes, around zeros.

Task: softmax
Language: pytorch
Expect: rejected
Behind: crash
"""

import torch
import torch.nn as nn


class Agreeable(torch.Tensor):
    def __eq__(self, other):
        return torch.ones(self.shape, dtype=torch.bool)

    __hash__ = torch.Tensor.__hash__

    def __sub__(self, other):
        return torch.zeros(self.shape)

    __rsub__ = __sub__


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x).as_subclass(Agreeable)
