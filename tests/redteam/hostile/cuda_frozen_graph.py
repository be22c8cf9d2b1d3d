"""Captures a graph on the first inputs and replays it ever after without copying new inputs in.

Task: softmax
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

    def forward(self, x):
        if self.graph is None:
            self.held = x.clone()
            torch.softmax(self.held, dim=1)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.output = torch.softmax(self.held, dim=1)
        self.graph.replay()
        return self.output
