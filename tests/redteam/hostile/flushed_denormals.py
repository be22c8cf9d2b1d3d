"""Makes the process's float arithmetic flush denormals, which also bends what the harness computes there.

Harmless once the rules are off: outputs are compared in the parent, and what is flushed is 1e-38 at most.

Task: softmax
Language: pytorch
Devices: cpu
Expect: rejected
Behind: -
"""

import torch
import torch.nn as nn

torch.set_flush_denormal(True)


class ModelNew(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=1)
