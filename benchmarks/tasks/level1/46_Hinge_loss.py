"""Hinge loss of 32768 × 8192 predictions, a sign for each column."""

import torch
from torch import nn

batch_size = 32768
features = 8192


class Model(nn.Module):
    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.mean(torch.clamp(1 - predictions * targets, min=0))


def get_inputs():
    agreement = 0.5 + 2 * torch.rand(())
    targets = torch.where(torch.rand(features) < 0.5, 1.0, -1.0)
    return [agreement * targets + torch.randn(batch_size, features), targets]


def get_init_inputs():
    return []
