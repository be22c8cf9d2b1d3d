"""The floor under a task's time: its bytes over bandwidth, its FLOPs over the allowed rate, whichever is longer.

The ceilings are measured on the device by `devices/base.py`, never taken from a table. Called by `sessions.py`.
"""

from collections.abc import Sequence

from everforge.model.device import Peaks
from everforge.model.graph import TaskGraph, TraceFailure
from everforge.model.interval import geometric_mean
from everforge.model.precision import Precision


def floor_us(graph: TaskGraph | TraceFailure, peaks: Peaks, policy: Precision) -> float | None:
    """Least time of one call in microseconds; None where the task could not be traced."""
    if isinstance(graph, TraceFailure):
        return None
    rates = [peaks.flops_per_s[p] for p in policy.allowed if p in peaks.flops_per_s]
    seconds = max(graph.bytes / peaks.bandwidth_bytes_per_s, graph.flops / max(rates))
    return seconds * 1e6 if seconds > 0 else None


def sol_fraction(floors_us: Sequence[float | None], candidate_us: Sequence[float]) -> float | None:
    """Floor over time, geometric mean over variants; None if any floor is unknown."""
    known = [floor for floor in floors_us if floor is not None]
    if not known or len(known) != len(floors_us):
        return None
    return geometric_mean([floor / time for floor, time in zip(known, candidate_us, strict=True)])
