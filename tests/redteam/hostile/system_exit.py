"""Raises SystemExit(0), which `except Exception` lets through.

Task: softmax
Language: pytorch
Expect: rejected, crash
Behind: crash
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        raise SystemExit(0)
