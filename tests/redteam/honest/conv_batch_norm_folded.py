"""Batch normalisation folded into the convolution at load with torch.nn.utils.fusion; the modules keep their names.

Task: conv_batch_norm
Language: pytorch
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights


class ModelNew(nn.Module):
    def __init__(self, channels, filters):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(filters)
        self.register_load_state_dict_post_hook(ModelNew._fold)
        self._fold(None)

    @torch.no_grad()
    def _fold(self, incompatible_keys):
        norm = self.norm
        weight, bias = fuse_conv_bn_weights(
            self.conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        self.folded = (weight.detach(), bias.detach())

    def forward(self, x):
        weight, bias = self.folded
        return F.relu(F.conv2d(x, weight, bias, padding=1), inplace=True)
