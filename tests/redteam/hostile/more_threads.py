"""Takes far more threads than there are cores, which spin between calls on the cores the rival needs.

Harmless once the rules are off: a worker is stopped, threads and all, while another has its turn.

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
