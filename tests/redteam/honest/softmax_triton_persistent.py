"""A persistent Triton kernel: as many programs as the device has multiprocessors, each walking over its rows.

Task: softmax
Language: triton
Devices: cuda
"""

from functools import cache

import torch
import torch.nn as nn
import triton
import triton.language as tl


@cache
def multiprocessors(index: int) -> int:
    return torch.cuda.get_device_properties(index).multi_processor_count


@triton.jit
def persistent_softmax(x_ptr, out_ptr, rows, columns, x_stride, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    column = tl.arange(0, BLOCK)
    inside = column < columns
    for row in tl.range(tl.program_id(0), rows, tl.num_programs(0), num_stages=STAGES):
        x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=-float("inf"))
        numerator = tl.exp(x - tl.max(x, axis=0))
        tl.store(out_ptr + row * columns + column, numerator / tl.sum(numerator, axis=0), mask=inside)


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.stride(1) != 1:
            x = x.contiguous()
        rows, columns = x.shape
        out = torch.empty((rows, columns), dtype=x.dtype, device=x.device)
        programs = min(rows, 2 * multiprocessors(torch.cuda.current_device()))
        persistent_softmax[(programs,)](
            x, out, rows, columns, x.stride(0), BLOCK=triton.next_power_of_2(columns), STAGES=2, num_warps=8
        )
        return out
