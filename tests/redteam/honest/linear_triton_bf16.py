"""Triton under a bf16 policy: operands cast inside the kernel, tensor cores, fp32 sums, fp32 result.

Task: linear_relu
Language: triton
Devices: cuda
Precision: bf16
"""

import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def linear_relu_bf16(x_ptr, w_ptr, b_ptr, out_ptr, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, k, BK):
        depth = start + tl.arange(0, BK)
        x = tl.load(
            x_ptr + rows[:, None] * k + depth[None, :], mask=(rows < m)[:, None] & (depth < k)[None, :], other=0.0
        )
        w = tl.load(
            w_ptr + columns[None, :] * k + depth[:, None], mask=(columns < n)[None, :] & (depth < k)[:, None], other=0.0
        )
        total += tl.dot(x.to(tl.bfloat16), w.to(tl.bfloat16))
    total = tl.maximum(total + tl.load(b_ptr + columns, mask=columns < n, other=0.0)[None, :], 0.0)
    tl.store(out_ptr + rows[:, None] * n + columns[None, :], total, mask=(rows < m)[:, None] & (columns < n)[None, :])


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x):
        x = x.contiguous()
        (m, k), n = x.shape, self.linear.out_features
        out = x.new_empty(m, n)
        grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
        linear_relu_bf16[grid](x, self.linear.weight, self.linear.bias, out, m, n, k, BM=64, BN=64, BK=64, num_stages=3)
        return out
