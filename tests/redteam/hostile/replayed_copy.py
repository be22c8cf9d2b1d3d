"""As a replay, but in fresh memory each time, so that pointers of outputs differ as they should.

Task: row_sum
Language: pytorch
Expect: incorrect, tampered
Behind: incorrect, tampered
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.last = None

    def forward(self, x):
        self.calls += 1
        if self.calls <= 20:
            self.last = torch.sum(x, dim=1, keepdim=True)
        return self.last.clone()
