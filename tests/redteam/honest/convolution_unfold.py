"""Convolution as a matrix product over unfolded patches, written straight into the output by baddbmm.

Task: convolution
Language: pytorch
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, channels: int, filters: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = F.unfold(x, kernel_size=3, padding=1)  # (batch, channels * 9, height * width)
        weight = self.conv.weight.flatten(1).expand(x.shape[0], -1, -1)
        y = torch.baddbmm(self.conv.bias[None, :, None], weight, patches)
        return y.relu_().unflatten(2, x.shape[-2:])
