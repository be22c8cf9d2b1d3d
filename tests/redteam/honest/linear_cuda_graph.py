"""A CUDA graph captured at the first call of each shape; inputs copied into static memory, the output cloned out.

Task: linear_relu
Language: pytorch
Devices: cuda
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self._captured = {}

    def _compute(self, x):
        return torch.relu_(self.linear(x))

    def _capture(self, x):
        static_x = x.clone(memory_format=torch.contiguous_format)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._compute(static_x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            static_out = self._compute(static_x)
        return graph, static_x, static_out

    def forward(self, x):
        if torch.cuda.is_current_stream_capturing():
            return self._compute(x)
        key = (tuple(x.shape), x.dtype)
        if key not in self._captured:
            self._captured[key] = self._capture(x)
        graph, static_x, static_out = self._captured[key]
        static_x.copy_(x)
        graph.replay()
        return static_out.clone()
