"""Computes on a stream of its own and returns without joining it: events on the current stream see no work.

Task: softmax
Language: pytorch
Devices: cuda
Expect: tampered, incorrect
Behind: tampered, incorrect
"""

import torch
import torch.nn as nn

side = None


class ModelNew(nn.Module):
    def forward(self, x):
        global side
        if side is None:
            side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            output = torch.softmax(x, dim=1)
        return output
