"""Joins its stream while it is checked and stops joining it once it is timed.

Task: matmul
Language: pytorch
Devices: cuda
Expect: tampered, incorrect
Behind: tampered, incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.side = None

    def forward(self, left, right):
        self.calls += 1
        if self.side is None:
            self.side = torch.cuda.Stream()
        self.side.wait_stream(torch.cuda.current_stream())
        output = left.new_empty(left.shape[0], right.shape[1])
        with torch.cuda.stream(self.side):
            torch.mm(left, right, out=output)
        if self.calls <= 20:
            torch.cuda.current_stream().wait_stream(self.side)
        return output
