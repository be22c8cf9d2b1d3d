"""The library's fused attention, its causal flag in place of the mask.

Task: attention_causal
Language: pytorch
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ModelNew(nn.Module):
    def _aligned(self, tensor: torch.Tensor) -> torch.Tensor:
        # The memory-efficient kernel of torch 2.11 reads 16 bytes at once wherever a tensor starts.
        return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        # On a GPU the library returns it transposed in memory; the task returns it contiguous.
        return F.scaled_dot_product_attention(*map(self._aligned, (query, key, value)), is_causal=True).contiguous()
