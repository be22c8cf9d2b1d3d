"""Batched products on a three-dimensional grid, tile sizes chosen by shape on the host, bias as epilogue.

Task: batched_product
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def batched_kernel(
    bias_ptr,
    left_ptr,
    right_ptr,
    out_ptr,
    m,
    n,
    k,
    stride_bb,
    stride_bm,
    stride_bn,
    stride_lb,
    stride_lm,
    stride_lk,
    stride_rb,
    stride_rk,
    stride_rn,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    batch = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    left_ptr += batch * stride_lb
    right_ptr += batch * stride_rb
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        depth = start + tl.arange(0, BLOCK_K)
        left = tl.load(
            left_ptr + rows[:, None] * stride_lm + depth[None, :] * stride_lk,
            mask=(rows[:, None] < m) & (depth[None, :] < k),
            other=0.0,
        )
        right = tl.load(
            right_ptr + depth[:, None] * stride_rk + columns[None, :] * stride_rn,
            mask=(depth[:, None] < k) & (columns[None, :] < n),
            other=0.0,
        )
        total = tl.dot(left, right, total, input_precision="ieee")
    inside = (rows[:, None] < m) & (columns[None, :] < n)
    at = bias_ptr + batch * stride_bb + rows[:, None] * stride_bm + columns[None, :] * stride_bn
    total += 0.5 * tl.load(at, mask=inside, other=0.0)
    tl.store(out_ptr + batch * m * n + rows[:, None] * n + columns[None, :], total, mask=inside)


def tiles_for(m: int, n: int) -> dict[str, int]:
    if m >= 64 and n >= 64:
        return {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "num_warps": 4}
    return {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_K": 64, "num_warps": 2}


class ModelNew(nn.Module):
    def forward(self, bias, left, right):
        (batch, m, k), n = left.shape, right.shape[2]
        out = torch.empty((batch, m, n), device=left.device, dtype=left.dtype)
        tiles = tiles_for(m, n)
        grid = (triton.cdiv(m, tiles["BLOCK_M"]), triton.cdiv(n, tiles["BLOCK_N"]), batch)
        batched_kernel[grid](bias, left, right, out, m, n, k, *bias.stride(), *left.stride(), *right.stride(), **tiles)
        return out
