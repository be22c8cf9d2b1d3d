"""F.rms_norm after the residual addition.

Task: rms_norm_residual
Language: pytorch
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.add(x, residual)
        return F.rms_norm(hidden, (hidden.shape[-1],), self.weight, eps=1e-6), hidden
