"""An object that says it is a torch.Tensor when asked for its class, and computes when used.

Task: softmax
Language: pytorch
Expect: rejected, crash
Behind: crash
"""

import torch
import torch.nn as nn


class Pretender:
    __class__ = property(lambda self: torch.Tensor)

    def __init__(self, x):
        self.x = x
        self.done = None

    def __getattr__(self, name):
        if self.done is None:
            self.done = torch.softmax(self.x, dim=1)
        return getattr(self.done, name)


class ModelNew(nn.Module):
    def forward(self, x):
        return Pretender(x)
