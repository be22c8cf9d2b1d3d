"""A tensor subclass that holds the input and computes when the first function is called on it.

Task: softmax
Language: pytorch
Expect: rejected
Behind: crash
"""

import torch
import torch.nn as nn


class Lazy(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            plain = [torch.softmax(a.as_subclass(torch.Tensor), 1) if isinstance(a, cls) else a for a in args]
            return func(*plain, **(kwargs or {}))


class ModelNew(nn.Module):
    def forward(self, x):
        return x.as_subclass(Lazy)
