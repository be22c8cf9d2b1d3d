"""bfloat16 for seven eighths of the inner dimension: a mean error over the whole output stays small.

Task: matmul
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, left, right):
        split = left.shape[1] // 8
        exact = left[:, :split] @ right[:split]
        return exact + (left[:, split:].bfloat16() @ right[split:].bfloat16()).float()
