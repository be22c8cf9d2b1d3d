"""Reads the input's storage as if it were contiguous: a transposed or shifted view gives other numbers.

Task: row_sum
Language: pytorch
Expect: incorrect, crash
Behind: incorrect, crash
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        flat = torch.as_strided(x, (x.shape[0], x.shape[1]), (x.shape[1], 1), 0)
        return flat.sum(dim=1, keepdim=True)
