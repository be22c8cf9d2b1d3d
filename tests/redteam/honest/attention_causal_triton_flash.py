"""Flash attention forward in Triton: causal, fp32 products, key blocks past the diagonal never visited.

Task: attention_causal
Language: triton
Devices: cuda
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def flash_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    heads,
    tokens,
    width,
    scale,
    q_batch,
    q_head,
    q_token,
    q_width,
    k_batch,
    k_head,
    k_token,
    k_width,
    v_batch,
    v_head,
    v_token,
    v_width,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
    WIDTH: tl.constexpr,
):
    first = tl.program_id(0) * BLOCK_Q
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads).to(tl.int64)
    q_ptr += batch * q_batch + head * q_head
    k_ptr += batch * k_batch + head * k_head
    v_ptr += batch * v_batch + head * v_head
    out_ptr += tl.program_id(1).to(tl.int64) * tokens * width

    rows = first + tl.arange(0, BLOCK_Q)
    depth = tl.arange(0, WIDTH)
    q_inside = (rows < tokens)[:, None] & (depth < width)[None, :]
    q = tl.load(q_ptr + rows[:, None] * q_token + depth[None, :] * q_width, mask=q_inside, other=0.0)
    q = q * scale
    peak = tl.full((BLOCK_Q,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_Q,), dtype=tl.float32)
    gathered = tl.zeros((BLOCK_Q, WIDTH), dtype=tl.float32)
    for start in range(0, tl.minimum(first + BLOCK_Q, tokens), BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        inside = (columns < tokens)[:, None] & (depth < width)[None, :]
        k = tl.load(k_ptr + columns[:, None] * k_token + depth[None, :] * k_width, mask=inside, other=0.0)
        v = tl.load(v_ptr + columns[:, None] * v_token + depth[None, :] * v_width, mask=inside, other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        seen = (columns[None, :] <= rows[:, None]) & (columns[None, :] < tokens)
        scores = tl.where(seen, scores, -float("inf"))
        higher = tl.maximum(peak, tl.max(scores, axis=1))
        weights = tl.exp(scores - higher[:, None])
        shrink = tl.exp(peak - higher)
        total = total * shrink + tl.sum(weights, axis=1)
        gathered = tl.dot(weights, v, gathered * shrink[:, None], input_precision="ieee")
        peak = higher
    tl.store(out_ptr + rows[:, None] * width + depth[None, :], gathered / total[:, None], mask=q_inside)


class ModelNew(nn.Module):
    def forward(self, query, key, value):
        batch, heads, tokens, width = query.shape
        out = torch.empty((batch, heads, tokens, width), device=query.device, dtype=query.dtype)
        grid = (triton.cdiv(tokens, 32), batch * heads)
        flash_kernel[grid](
            query,
            key,
            value,
            out,
            heads,
            tokens,
            width,
            width**-0.5,
            *query.stride(),
            *key.stride(),
            *value.stride(),
            BLOCK_Q=32,
            BLOCK_K=32,
            WIDTH=max(16, triton.next_power_of_2(width)),
            num_warps=4,
            num_stages=2,
        )
        return out
