"""Scores scaled inside addmm and turned into weights in place; the dict names its parts in another order.

Task: attention_parts
Language: pytorch
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, query, key, value):
        scores = torch.addmm(query.new_zeros(1), query, key.t(), beta=0, alpha=query.shape[1] ** -0.5)
        scores.sub_(scores.amax(dim=1, keepdim=True)).exp_()
        scores.div_(scores.sum(dim=1, keepdim=True))
        return {"output": scores @ value, "weights": scores}
