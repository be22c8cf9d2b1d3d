"""A graph whose inputs are copied in while it is checked, and left as they are once it is timed.

Task: matmul
Language: pytorch
Devices: cuda
Expect: incorrect, tampered
Behind: incorrect, tampered
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.graph = None
        self.calls = 0

    def forward(self, left, right):
        self.calls += 1
        if self.graph is None:
            self.left, self.right = left.clone(), right.clone()
            torch.mm(self.left, self.right)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.output = torch.mm(self.left, self.right)
        if self.calls <= 20:
            self.left.copy_(left)
            self.right.copy_(right)
        self.graph.replay()
        return self.output.clone()
