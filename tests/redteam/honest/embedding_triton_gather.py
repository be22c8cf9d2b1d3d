"""A Triton gather: a program for each token and block of features.

Task: embedding
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def gather_kernel(ids_ptr, table_ptr, out_ptr, id_stride, width, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    feature = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = feature < width
    row = tl.load(ids_ptr + token * id_stride).to(tl.int64)
    tl.store(out_ptr + token * width + feature, tl.load(table_ptr + row * width + feature, mask=inside), mask=inside)


class ModelNew(nn.Module):
    def __init__(self, vocabulary, width):
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)

    def forward(self, ids):
        width = self.table.embedding_dim
        out = torch.empty((ids.shape[0], width), device=ids.device, dtype=self.table.weight.dtype)
        block = min(1024, triton.next_power_of_2(width))
        gather_kernel[(ids.shape[0], triton.cdiv(width, block))](
            ids, self.table.weight, out, ids.stride(0), width, BLOCK=block
        )
        return out
