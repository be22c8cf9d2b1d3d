"""Centred once, in a buffer kept for the next call of the same shape, squared in place and averaged.

Task: moments
Language: pytorch
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.centred = None

    def forward(self, x):
        mean = x.mean(dim=1)
        if self.centred is None or self.centred.shape != x.shape or self.centred.device != x.device:
            self.centred = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        torch.sub(x, mean[:, None], out=self.centred)
        return mean, self.centred.square_().mean(dim=1)
