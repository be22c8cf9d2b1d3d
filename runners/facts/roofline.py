"""Floors under a task's time: bytes over bandwidth, FLOPs over the allowed rate, whichever is longer.

Three of them. The roofline floor is that of the stated work: what a result is rated by. The suspicion floor is that
of the least work an honest kernel can do: what a result is doubted by. The shortcut floor is that of the least work
with every algebraic shortcut taken that is known of the task. The ceilings are measured on the device, never taken
from a table. Called by `server.py`, `sessions.py` and `trial_record.py`.
"""

import time
from collections.abc import Mapping, Sequence
from enum import StrEnum

from everforge.errors import DeviceFault
from everforge.model.device import Peaks
from everforge.model.graph import Shortcut, TaskGraph, TraceFailure
from everforge.model.interval import geometric_mean
from everforge.model.precision import Precision
from everforge.runners.devices.base import Device
from everforge.runners.facts.least_work import LeastWork, least_work
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.isolation.worker_handle import WorkerEnded, WorkerTimeout

# A copy and a product per precision take half a second each; a device's first use, several.
_PEAKS_TIMEOUT_S = 120.0
# The rates that bound a policy: shorter ones too, of which a product of full precision can be put together.
_BOUNDED_BY = dict.fromkeys(Precision, Precision.BF16) | {Precision.FP16: Precision.FP16}
# Products in the shorter precision for one that is as good as the longer: an operand of 24 bits is 3 of BF16's 8,
# of which 6 products count, or 2 of TF32's and FP16's 11 with 3 products; one of TF32's is 2 of BF16's.
_PRODUCTS_FOR = {
    (Precision.FP32, Precision.TF32): 3,
    (Precision.FP32, Precision.FP16): 3,
    (Precision.FP32, Precision.BF16): 6,
    (Precision.TF32, Precision.BF16): 3,
    (Precision.TF32, Precision.FP16): 1,  # the same 11 bits
}


def measured_peaks(nursery: Nursery, device: Device, policy: Precision) -> Peaks:
    """The device's ceilings, measured as kernels are: in a worker, with precedence. Raises DeviceFault.

    On a busy machine without precedence the ceiling of two cores came out at half, and honest kernels beat it.
    """
    load = {"op": "load", "device": device.kind, "tf32": False, "source": None}
    try:
        with nursery.worker(None) as worker:
            worker.ask(load, deadline_s=time.monotonic() + _PEAKS_TIMEOUT_S)
            with worker.precedence():
                request = {"op": "peaks", "policy": _BOUNDED_BY[policy]}
                answer = worker.ask(request, deadline_s=time.monotonic() + _PEAKS_TIMEOUT_S)
    except (WorkerEnded, WorkerTimeout) as error:
        raise DeviceFault(f"the device's peaks could not be measured: {error}") from error
    if "failure" in answer:
        raise DeviceFault(f"the device's peaks could not be measured: {answer['failure']['line']}")
    return Peaks.model_validate(answer["peaks"])


def floor_us(graph: TaskGraph | TraceFailure, peaks: Peaks, policy: Precision) -> float | None:
    """Least time of one call as the reference states it, in microseconds; None where it could not be traced."""
    if isinstance(graph, TraceFailure):
        return None
    rates = [peaks.flops_per_s[p] for p in policy.allowed if p in peaks.flops_per_s]
    seconds = max(graph.bytes / peaks.bandwidth_bytes_per_s, graph.flops / max(rates))
    return seconds * 1e6 if seconds > 0 else None


def suspicion_floor_us(
    graph: TaskGraph | TraceFailure,
    peaks: Peaks,
    policy: Precision,
    cache_bytes: int,
    dense: Mapping[str, float] | None = None,
) -> float | None:
    """Time no kernel can beat that does the task's work, in microseconds; None where nothing is known of it.

    `cache_bytes`: size of the last-level cache, where results may still lie when the clock stops.
    `dense`: see `least_work`.
    """
    if isinstance(graph, TraceFailure):
        return None
    return _time_us(least_work(graph, policy, dense), peaks, policy, cache_bytes)


def shortcut_floor_us(
    graph: TaskGraph | TraceFailure,
    shortcuts: Sequence[Shortcut],
    peaks: Peaks,
    policy: Precision,
    cache_bytes: int,
    dense: Mapping[str, float] | None = None,
) -> float | None:
    """The suspicion floor of a kernel that takes every known shortcut; None where none is known.

    Where nothing but writes to a cache is left, it is 0: with the shortcut, any time is possible.
    """
    if isinstance(graph, TraceFailure) or not shortcuts:
        return None
    products: dict[str, float] = {}
    read_shares: dict[str, float] = {}
    for shortcut in shortcuts:
        for kept, bounds in ((products, shortcut.products), (read_shares, shortcut.read_shares)):
            kept |= {name: min(value, kept.get(name, value)) for name, value in bounds.items()}
    work = least_work(graph, policy, dense, products, read_shares)
    return _time_us(work, peaks, policy, cache_bytes) or 0.0


def _time_us(work: LeastWork, peaks: Peaks, policy: Precision, cache_bytes: int) -> float | None:
    moved = work.bytes_read + max(0.0, work.bytes_written - cache_bytes)
    seconds = max(moved / peaks.bandwidth_bytes_per_s, work.flops / _best_rate(peaks, policy))
    return seconds * 1e6 if seconds > 0 else None


def _best_rate(peaks: Peaks, policy: Precision) -> float:
    """FLOP/s of products at a policy's precision, also put together from several shorter ones."""
    allowed = [rate for precision, rate in peaks.flops_per_s.items() if precision in policy.allowed]
    composed = [
        rate / _PRODUCTS_FOR[policy, precision]
        for precision, rate in peaks.flops_per_s.items()
        if (policy, precision) in _PRODUCTS_FOR
    ]
    return max(allowed + composed)


class FloorFinding(StrEnum):
    """Where a candidate's time lies."""

    POSSIBLE = "possible"
    SHORTCUT = "shortcut"
    IMPOSSIBLE = "impossible"
    UNKNOWN = "unknown"


def judge_floor(
    candidate_us: float, suspicion_floor_us: float | None, shortcut_floor_us: float | None, margin: float
) -> FloorFinding:
    """Hold a time against the floors. `margin` (0 to 1] scales both: the share of a floor that errors may eat.

    `shortcut`: faster than the stated work allows, and a shortcut is known that explains it.
    `impossible`: faster than any known way to the result, so that the work was not done, or not inside the clock.
    """
    if suspicion_floor_us is None:
        return FloorFinding.UNKNOWN
    if candidate_us >= suspicion_floor_us * margin:
        return FloorFinding.POSSIBLE
    if shortcut_floor_us is not None and candidate_us >= shortcut_floor_us * margin:
        return FloorFinding.SHORTCUT
    return FloorFinding.IMPOSSIBLE


def sol_fraction(floors_us: Sequence[float | None], candidate_us: Sequence[float]) -> float | None:
    """Floor over time, geometric mean over variants; None if any floor is unknown."""
    known = [floor for floor in floors_us if floor is not None]
    if not known or len(known) != len(floors_us):
        return None
    return geometric_mean([floor / time for floor, time in zip(known, candidate_us, strict=True)])
