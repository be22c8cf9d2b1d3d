"""A reduction in two levels through a view, the columns that fill no block summed apart.

Task: row_sum
Language: pytorch
"""

import torch.nn as nn

BLOCK = 128


class ModelNew(nn.Module):
    def forward(self, x):
        rows, columns = x.shape
        whole = columns // BLOCK * BLOCK
        total = x[:, :whole].reshape(rows, -1, BLOCK).sum(dim=1).sum(dim=1, keepdim=True)
        return total if whole == columns else total + x[:, whole:].sum(dim=1, keepdim=True)
