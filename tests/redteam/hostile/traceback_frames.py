"""The same walk without sys: a caught exception's traceback leads to the frames of the harness.

Task: softmax
Language: pytorch
Expect: rejected
Behind: incorrect
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        try:
            raise ValueError
        except ValueError as error:
            frame = error.__traceback__.tb_frame.f_back
        while frame is not None:
            for value in frame.f_locals.values():
                if isinstance(value, torch.Tensor) and value is not x and value.shape == x.shape:
                    return value
            frame = frame.f_back
        return torch.zeros_like(x)
