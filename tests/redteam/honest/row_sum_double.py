"""More precise than asked: float64 sums, returned in the dtype of the task.

Task: row_sum
Language: pytorch
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.sum(x, dim=1, keepdim=True, dtype=torch.float64).to(x.dtype)
