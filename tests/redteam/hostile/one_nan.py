"""One NaN in each row of an otherwise lazy result: a norm that skips NaN, or is NaN, lets the rest pass.

Task: cumulative_sum
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        output = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype).mul(0.5).repeat(x.shape[0], 1)
        output[:, 0] = float("nan")
        return output
