"""Replaces the clock by one that runs at a third of its speed: a speedup of three looks plausible.

Task: matmul
Language: pytorch
Expect: rejected
Behind: tampered
"""

import time

import torch.nn as nn

_real = time.perf_counter_ns
_start = _real()
time.perf_counter_ns = lambda: _start + (_real() - _start) // 3
time.perf_counter = lambda: time.perf_counter_ns() / 1e9


class ModelNew(nn.Module):
    def forward(self, left, right):
        return left @ right
