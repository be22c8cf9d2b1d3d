"""Takes far more threads than there are cores, which spin between calls on the cores the rival needs.

Task: matmul
Language: pytorch
Devices: cpu
Expect: rejected, tampered
Behind: -
"""

import torch
import torch.nn as nn

torch.set_num_threads(64)


class ModelNew(nn.Module):
    def forward(self, left, right):
        return left @ right
