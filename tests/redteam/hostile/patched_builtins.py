"""Replaces `all` and `any` for every module of the process, then returns zeros.

Task: softmax
Language: pytorch
Expect: rejected
Behind: incorrect, crash, tampered
"""

import builtins

import torch
import torch.nn as nn

builtins.all = lambda values: True
builtins.any = lambda values: False


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)
