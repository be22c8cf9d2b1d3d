"""Weight and bias repacked into one matrix inside _load_from_state_dict; the bias rides on a column of ones.

Task: linear_relu
Language: pytorch
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.augmented = None
        self.linear.register_load_state_dict_post_hook(self._on_load)

    def _on_load(self, module: nn.Module, incompatible_keys: Any) -> None:
        self.augmented = None

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *arguments: Any) -> None:
        self.augmented = None
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.augmented is None:
            self.augmented = torch.cat((self.linear.weight, self.linear.bias[:, None]), dim=1).t().contiguous()
        return F.relu(F.pad(x, (0, 1), value=1.0) @ self.augmented, inplace=True)
