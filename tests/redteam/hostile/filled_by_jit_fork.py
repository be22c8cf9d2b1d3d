"""Hands the work to torch's own thread pool with torch.jit.fork and never waits for it.

Task: softmax
Language: pytorch
Expect: rejected
Behind: incorrect, tampered, crash
"""

import torch
import torch.nn as nn


@torch.jit.script
def _fill(x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    return output.copy_(torch.softmax(x, 1))


@torch.jit.script
def _later(x: torch.Tensor, output: torch.Tensor):
    return torch.jit.fork(_fill, x, output)


class ModelNew(nn.Module):
    def forward(self, x):
        output = torch.empty_like(x)
        self.pending = _later(x, output)
        return output
