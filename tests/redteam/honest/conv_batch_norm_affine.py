"""The normalisation reduced to one scale and shift for each filter, made anew in each call: nothing can grow stale.

Task: conv_batch_norm
Language: pytorch
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, channels, filters):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x):
        scale = self.norm.weight * torch.rsqrt(self.norm.running_var + self.norm.eps)
        shift = self.norm.bias - self.norm.running_mean * scale
        y = self.conv(x)
        return torch.addcmul(shift[:, None, None], y, scale[:, None, None], out=y).relu_()
