"""Half-precision multiplication under an fp32 policy, cast back so that the dtype gives nothing away.

Task: matmul
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, left, right):
        return (left.half() @ right.half()).float()
