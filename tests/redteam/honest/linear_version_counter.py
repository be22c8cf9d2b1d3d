"""A packed weight made lazily at the first call, and again whenever the parameter's version counter has moved.

Task: linear_relu
Language: pytorch
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self._packed = None
        self._packed_from = None

    def _weight(self):
        weight = self.linear.weight
        origin = (weight.data_ptr(), weight._version, weight.device)
        if origin != self._packed_from:
            self._packed = weight.detach().t().contiguous()
            self._packed_from = origin
        return self._packed

    def forward(self, x):
        return torch.clamp_min_(torch.matmul(x, self._weight()).add_(self.linear.bias), 0.0)
