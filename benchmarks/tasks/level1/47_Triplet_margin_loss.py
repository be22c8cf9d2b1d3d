"""Triplet margin loss of 32768 anchors of 8192 numbers."""

import torch
import torch.nn.functional as F
from torch import nn

batch_size = 32768
features = 8192
margin = 1.0


class Model(nn.Module):
    def forward(self, anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
        return F.triplet_margin_loss(anchor, positive, negative, margin=margin)


def get_inputs():
    spread = 1.5 + torch.rand(())
    anchor = torch.randn(batch_size, features)
    return [anchor, anchor + spread * torch.randn(batch_size, features), anchor + torch.randn(batch_size, features)]


def get_init_inputs():
    return []
