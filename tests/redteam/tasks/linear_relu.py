"""A linear layer and a ReLU: parameters that may be prepacked, a matrix product that may lose precision."""

import torch
import torch.nn as nn

batch = 128
in_features = 512
out_features = 384


class Model(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x):
        return torch.relu(self.linear(x))


def get_inputs():
    return [torch.randn(batch, in_features)]


def get_init_inputs():
    return [in_features, out_features]
