"""Allows TF32 in matrix products by the process's own switch, under an fp32 policy.

Task: matmul
Language: pytorch
Devices: cuda
Expect: rejected, incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn

torch.backends.cuda.matmul.allow_tf32 = True


class ModelNew(nn.Module):
    def forward(self, left, right):
        return left @ right
