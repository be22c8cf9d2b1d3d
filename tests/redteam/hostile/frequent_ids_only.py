"""Looks up the hundred most frequent tokens and answers the rest with one of them.

Task: embedding
Language: pytorch
Expect: incorrect
Behind: incorrect
"""

import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, vocabulary, width):
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)

    def forward(self, ids):
        return self.table(ids.clamp(max=99))
