"""A petabyte of stride 0, so that the harness that copies, hashes or compares it dies first.

Task: softmax
Language: pytorch
Expect: incorrect, crash
Behind: incorrect, crash
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.zeros(1, device=x.device).expand(1 << 24, 1 << 24)
