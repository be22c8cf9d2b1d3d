"""Scratch memory kept between calls and written through out= arguments; the output itself is new each time.

Task: softmax
Language: pytorch
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self._scratch = {}

    def _buffers_for(self, x):
        key = (x.shape[0], x.dtype, x.device)
        if key not in self._scratch:
            self._scratch[key] = (x.new_empty(x.shape[0], 1), x.new_empty(x.shape[0], 1))
        return self._scratch[key]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        peak, total = self._buffers_for(x)
        torch.amax(x, dim=1, keepdim=True, out=peak)
        out = torch.sub(x, peak).exp_()
        torch.sum(out, dim=1, keepdim=True, out=total)
        return out.div_(total)
