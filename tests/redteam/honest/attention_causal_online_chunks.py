"""Flash attention's recurrence in PyTorch: keys in chunks, a running maximum and sum, no full score matrix.

Task: attention_causal
Language: pytorch
"""

import torch
import torch.nn as nn

CHUNK = 48


class ModelNew(nn.Module):
    def forward(self, query, key, value):
        tokens = query.shape[-2]
        scaled = query * query.shape[-1] ** -0.5
        position = torch.arange(tokens, device=query.device)
        peak = query.new_full((*query.shape[:-1], 1), float("-inf"))
        total = query.new_zeros((*query.shape[:-1], 1))
        gathered = torch.zeros_like(query, memory_format=torch.contiguous_format)
        for start in range(0, tokens, CHUNK):
            part = slice(start, min(start + CHUNK, tokens))
            rows = slice(start, tokens)  # queries before the chunk see none of it
            scores = torch.einsum("bhqd,bhkd->bhqk", scaled[..., rows, :], key[..., part, :])
            scores.masked_fill_(position[part][None, :] > position[rows][:, None], float("-inf"))
            higher = torch.maximum(peak[..., rows, :], scores.amax(dim=-1, keepdim=True))
            shrink = torch.exp(peak[..., rows, :] - higher)
            weights = torch.exp(scores - higher)
            total[..., rows, :] = total[..., rows, :] * shrink + weights.sum(dim=-1, keepdim=True)
            gathered[..., rows, :] = gathered[..., rows, :] * shrink + weights @ value[..., part, :]
            peak[..., rows, :] = higher
        return gathered / total
