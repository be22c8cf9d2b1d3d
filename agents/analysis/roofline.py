"""Places a candidate under the ceilings of its device (Williams, Waterman, Patterson: Roofline, CACM 2009).

The floor is that of the stated work, as in `runners/facts/roofline.py`, so that both speak of the same speed of light.
"""

import math

from everforge.model.analysis import Ceiling, Roofline
from everforge.model.device import Peaks
from everforge.model.graph import TaskGraph, TraceFailure
from everforge.model.precision import Precision


def quotient(above: float | None, below: float | None) -> float | None:
    """One figure over another; None where either is not known, or where the result is no finite number."""
    if above is None or not below:
        return None
    value = above / below
    return value if math.isfinite(value) else None


def best_rate(peaks: Peaks, policy: Precision) -> float | None:
    """FLOP/s at the fastest precision the policy allows; None where none was measured."""
    return max((rate for precision, rate in peaks.flops_per_s.items() if precision in policy.allowed), default=None)


def bandwidth_us(graph: TaskGraph | TraceFailure, peaks: Peaks) -> float | None:
    """Least time to move the task's inputs, parameters and outputs once; None where it was not traced."""
    if isinstance(graph, TraceFailure) or peaks.bandwidth_bytes_per_s <= 0:
        return None
    return graph.bytes / peaks.bandwidth_bytes_per_s * 1e6


def compute_us(graph: TaskGraph | TraceFailure, peaks: Peaks, policy: Precision) -> float | None:
    """Least time to compute the task's products; None where it was not traced, or no rate is known."""
    rate = best_rate(peaks, policy)
    return None if isinstance(graph, TraceFailure) or not rate or rate <= 0 else graph.flops / rate * 1e6


def placed(
    graph: TaskGraph | TraceFailure, peaks: Peaks, policy: Precision, time_us: float | None, floor_us: float | None
) -> Roofline | None:
    """Where a time lies. `floor_us`: the floor the runner told, for a reference that was not traced.

    None without a time, or without a floor.
    """
    if time_us is None or time_us <= 0:
        return None
    memory, products = bandwidth_us(graph, peaks), compute_us(graph, peaks, policy)
    if isinstance(graph, TraceFailure) or memory is None:
        return Roofline(time_us=time_us, floor_us=floor_us) if floor_us and floor_us > 0 else None
    floor = max(memory, products or 0.0)
    if floor <= 0:
        return None
    rate = best_rate(peaks, policy)
    return Roofline(
        time_us=time_us,
        floor_us=floor,
        ceiling=Ceiling.COMPUTE if products and products > memory else Ceiling.BANDWIDTH,
        intensity=quotient(graph.flops, graph.bytes),
        ridge=quotient(rate, peaks.bandwidth_bytes_per_s),
    )
