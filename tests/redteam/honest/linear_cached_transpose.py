"""A weight transposed once at load, kept in a non-persistent buffer and refreshed by a load_state_dict post hook.

Task: linear_relu
Language: pytorch
"""

import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.register_buffer("weight_t", torch.empty(in_features, out_features), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, keys: module.repack())
        self.repack()

    @torch.no_grad()
    def repack(self) -> None:
        self.weight_t.copy_(self.linear.weight.t())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.linear.bias, x, self.weight_t).relu_()
