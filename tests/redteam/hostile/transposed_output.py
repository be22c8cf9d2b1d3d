"""Column-major where the reference is row-major: whoever reads the result next pays for the layout.

Task: matmul
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, left, right):
        return (right.t() @ left.t()).t()
