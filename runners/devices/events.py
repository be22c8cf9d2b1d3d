"""Timing with a pair of device events around each call, and by the host; what NVIDIA's and Intel's GPUs share."""

import time
from collections.abc import Sequence
from typing import Any

from everforge.runners.devices.base import Call


def event_times_us(backend: Any, calls: Sequence[Call], before: Call) -> list[float]:
    """Times by a pair of events around each call; `backend` is torch.cuda or torch.xpu."""
    pairs = []
    for call in calls:
        start, end = (backend.Event(enable_timing=True) for _ in range(2))
        before()
        start.record()
        call()
        end.record()
        pairs.append((start, end))
    backend.synchronize()
    return [start.elapsed_time(end) * 1e3 for start, end in pairs]


def launch_times_us(backend: Any, call: Call, iterations: int) -> list[float]:
    """How long the host takes over each call, the device having nothing else to do."""
    times_us = []
    for _ in range(iterations):
        backend.synchronize()
        start_ns = time.perf_counter_ns()
        call()
        times_us.append((time.perf_counter_ns() - start_ns) / 1e3)
    backend.synchronize()
    return times_us
