"""Registers a hook on every module of the process that replaces outputs once warm.

Task: linear_relu
Language: pytorch
Expect: rejected
Behind: incorrect, tampered
"""

import torch
import torch.nn as nn
from torch.nn.modules.module import register_module_forward_pre_hook

LAST = []


def _skip(module, inputs):
    if isinstance(module, ModelNew) and len(LAST) > 20:
        module.replay = LAST[-1]


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.replay = None

    def forward(self, x):
        if self.replay is None:
            LAST.append(torch.relu(self.linear(x)))
        return LAST[-1]


register_module_forward_pre_hook(_skip)
