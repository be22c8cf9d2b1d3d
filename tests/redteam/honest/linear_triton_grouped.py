"""Triton matrix product in grouped order with bias and ReLU as epilogue, fp32 throughout, autotuned tiles.

Task: linear_relu
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.autotune(
    configs=[
        triton.Config({"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP": 8}, num_warps=4, num_stages=3),
        triton.Config({"BLOCK_M": 32, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP": 4}, num_warps=4, num_stages=4),
    ],
    key=["m", "n", "k"],
)
@triton.jit
def linear_relu_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    m,
    n,
    k,
    stride_xm,
    stride_xk,
    stride_wn,
    stride_wk,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):
    pid = tl.program_id(0)
    blocks_m = tl.cdiv(m, BLOCK_M)
    blocks_n = tl.cdiv(n, BLOCK_N)
    first = pid // (GROUP * blocks_n) * GROUP
    height = tl.minimum(blocks_m - first, GROUP)
    block_m = first + pid % (GROUP * blocks_n) % height
    block_n = pid % (GROUP * blocks_n) // height

    rows = block_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = block_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        depth = start + inner
        x = tl.load(
            x_ptr + rows[:, None] * stride_xm + depth[None, :] * stride_xk,
            mask=(rows[:, None] < m) & (depth[None, :] < k),
            other=0.0,
        )
        weight = tl.load(
            weight_ptr + columns[None, :] * stride_wn + depth[:, None] * stride_wk,
            mask=(columns[None, :] < n) & (depth[:, None] < k),
            other=0.0,
        )
        total = tl.dot(x, weight, total, input_precision="ieee")
    total += tl.load(bias_ptr + columns, mask=columns < n, other=0.0)[None, :]
    total = tl.maximum(total, 0.0)
    tl.store(out_ptr + rows[:, None] * n + columns[None, :], total, mask=(rows[:, None] < m) & (columns[None, :] < n))


class ModelNew(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x):
        weight, bias = self.linear.weight, self.linear.bias
        (m, k), n = x.shape, weight.shape[0]
        out = torch.empty((m, n), device=x.device, dtype=x.dtype)

        def grid(meta):
            return (triton.cdiv(m, meta["BLOCK_M"]) * triton.cdiv(n, meta["BLOCK_N"]),)

        linear_relu_kernel[grid](x, weight, bias, out, m, n, k, *x.stride(), *weight.stride())
        return out
