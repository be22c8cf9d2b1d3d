"""Gate and up projection as one product with the concatenated weight, concatenated once for each load.

Task: swiglu_mlp
Language: pytorch
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def __init__(self, features: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(features, hidden, bias=False)
        self.up = nn.Linear(features, hidden, bias=False)
        self.down = nn.Linear(hidden, features, bias=False)
        self.register_buffer("both", torch.empty(2 * hidden, features), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.fuse())

    @torch.no_grad()
    def fuse(self) -> None:
        torch.cat((self.gate.weight, self.up.weight), out=self.both)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = F.linear(x, self.both).chunk(2, dim=-1)
        return F.linear(F.silu(gate).mul_(up), self.down.weight)
