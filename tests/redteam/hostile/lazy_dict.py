"""A dict that computes its values when they are asked for, which is after the clock has stopped.

Task: attention_parts
Language: pytorch
Expect: rejected, incorrect, crash, tampered
Behind: incorrect, crash, tampered
"""

import torch
import torch.nn as nn


class Later(dict):
    def compute(self):
        if not self:
            query, key, value = self.inputs
            weights = torch.softmax(query @ key.t() / query.shape[1] ** 0.5, dim=1)
            self.update(weights=weights, output=weights @ value)
        return self

    def values(self):
        return dict.values(self.compute())

    def items(self):
        return dict.items(self.compute())


class ModelNew(nn.Module):
    def forward(self, query, key, value):
        later = Later()
        later.inputs = query, key, value
        return later
