"""Operands rounded to eight bits, the product in fp32: what fp8 tensor cores would give.

Task: matmul
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, left, right):
        return left.to(torch.float8_e4m3fn).float() @ right.to(torch.float8_e4m3fn).float()
