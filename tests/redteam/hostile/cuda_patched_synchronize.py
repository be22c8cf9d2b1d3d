"""Replaces every way to wait for the device and works on a stream of its own: a host's clock sees the launch alone.

Task: matmul
Language: pytorch
Devices: cuda
Expect: rejected
Behind: tampered, incorrect
"""

import torch
import torch.nn as nn

torch.cuda.synchronize = torch.cuda.Stream.synchronize = torch.cuda.Event.synchronize = lambda *args, **kwargs: None


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.side = None

    def forward(self, left, right):
        if self.side is None:
            self.side = torch.cuda.Stream()
        output = left.new_empty(left.shape[0], right.shape[1])
        with torch.cuda.stream(self.side):
            torch.mm(left, right, out=output)
        return output
