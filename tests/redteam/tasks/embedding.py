"""An embedding lookup: integer inputs, and a table of parameters."""

import torch
import torch.nn as nn

tokens = 4096
vocabulary = 3000
width = 256


class Model(nn.Module):
    def __init__(self, vocabulary, width):
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)

    def forward(self, ids):
        return self.table(ids)


def get_inputs():
    return [torch.randint(0, vocabulary, (tokens,))]


def get_init_inputs():
    return [vocabulary, width]
