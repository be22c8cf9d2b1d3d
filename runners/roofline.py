"""The floor under a task's time: its bytes over bandwidth, its FLOPs over the allowed rate, whichever is longer.

The ceilings are measured on the device, never taken from a table. Called by `server.py` and `sessions.py`.
"""

import time
from collections.abc import Sequence

from everforge.errors import DeviceFault
from everforge.model.device import Peaks
from everforge.model.graph import TaskGraph, TraceFailure
from everforge.model.interval import geometric_mean
from everforge.model.precision import Precision
from everforge.runners.devices.base import Device
from everforge.runners.nursery import Nursery
from everforge.runners.worker_handle import WorkerEnded, WorkerTimeout

# A copy and a product per precision take half a second each; a device's first use, several.
_PEAKS_TIMEOUT_S = 120.0


def measured_peaks(nursery: Nursery, device: Device, policy: Precision) -> Peaks:
    """The device's ceilings, measured as kernels are: in a worker, with precedence. Raises DeviceFault.

    On a busy machine without precedence the ceiling of two cores came out at half, and honest kernels beat it.
    """
    load = {"op": "load", "device": device.kind, "tf32": False, "source": None}
    try:
        with nursery.worker(None) as worker:
            worker.ask(load, deadline_s=time.monotonic() + _PEAKS_TIMEOUT_S)
            with worker.precedence():
                request = {"op": "peaks", "policy": policy}
                answer = worker.ask(request, deadline_s=time.monotonic() + _PEAKS_TIMEOUT_S)
    except (WorkerEnded, WorkerTimeout) as error:
        raise DeviceFault(f"the device's peaks could not be measured: {error}") from error
    if "failure" in answer:
        raise DeviceFault(f"the device's peaks could not be measured: {answer['failure']['line']}")
    return Peaks.model_validate(answer["peaks"])


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
