"""tl.dot on TF32 tensor cores under an fp32 policy: ten bits of mantissa where 23 were asked for.

Task: matmul
Language: triton
Devices: cuda
Expect: incorrect
Behind: incorrect
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def product_kernel(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, k, BK):
        inner = start + tl.arange(0, BK)
        left = tl.load(a + rows[:, None] * k + inner, mask=(rows[:, None] < m) & (inner < k), other=0.0)
        right = tl.load(b + inner[:, None] * n + columns, mask=(inner[:, None] < k) & (columns < n), other=0.0)
        total += tl.dot(left, right, input_precision="tf32")
    tl.store(c + rows[:, None] * n + columns, total, mask=(rows[:, None] < m) & (columns < n))


class ModelNew(nn.Module):
    def forward(self, left, right):
        left, right = left.contiguous(), right.contiguous()
        m, k, n = left.shape[0], left.shape[1], right.shape[1]
        output = torch.empty(m, n, device=left.device)
        grid = triton.cdiv(m, 64), triton.cdiv(n, 64)
        product_kernel[grid](left, right, output, m, n, k, BM=64, BN=64, BK=32)
        return output
