"""Schraudolph's exponential: the float's bits are computed directly, with an error of up to 4 %.

Task: softmax
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        shifted = x - x.amax(dim=1, keepdim=True)
        bits = (shifted * 12102203.0 + 1064866805.0).clamp_(min=0.0).to(torch.int32)
        exponentials = bits.view(torch.float32)
        return exponentials / exponentials.sum(dim=1, keepdim=True)
