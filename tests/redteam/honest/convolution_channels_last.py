"""Channels-last memory inside, the layout of the task outside; the weight's layout is refreshed after a load.

Task: convolution
Language: pytorch
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, channels, filters):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel_size=3, padding=1)
        self.weight_nhwc = None
        self.register_load_state_dict_post_hook(lambda module, keys: setattr(module, "weight_nhwc", None))

    def forward(self, x):
        if self.weight_nhwc is None:
            self.weight_nhwc = self.conv.weight.detach().to(memory_format=torch.channels_last)
        y = F.conv2d(x.contiguous(memory_format=torch.channels_last), self.weight_nhwc, self.conv.bias, padding=1)
        return y.relu_().contiguous()
