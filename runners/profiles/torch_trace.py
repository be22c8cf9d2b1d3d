"""The torch profiler's Chrome trace (`export_chrome_trace`, `.json` or `.json.gz`), of a GPU or of the CPU alone.

`reading.py` and `torch_live.py` call it. Kineto writes kernels with launch shape, registers and shared memory, and
copies as events of their own; where there is no device, operators are what there is, with the time spent in themselves.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import HostGaps, KernelProfile, Profile, ProfileTool
from everforge.runners.profiles.export_text import Export
from everforge.runners.profiles.merging import merged

_EVENTS = "traceEvents"
# Categories, lower case: Kineto wrote them with capitals before PyTorch 1.12.
_KERNELS = frozenset({"kernel"})
_COPIES = frozenset({"gpu_memcpy", "gpu_memset", "memcpy", "memset"})
_OPERATORS = frozenset({"cpu_op", "operator"})
_XPU = frozenset({"xpu_runtime", "xpu_driver"})
# Rounded to ns, an event may end this much after the one around it.
_SLACK_US = 0.002
_ESTIMATED = "est. achieved occupancy %"
_SOURCES = {
    "time_us": "dur",
    "registers_per_thread": "registers per thread",
    "shared_bytes": "shared memory",
    "blocks": "grid",
    "threads_per_block": "block",
    "occupancy_achieved": f"{_ESTIMATED} (estimated from resources and grid, not measured)",
}


class Event(NamedTuple):
    """One complete event: times in µs, on the device's or the host's thread."""

    name: str
    category: str
    start_us: float
    end_us: float
    thread: tuple[str, str]
    arguments: Mapping[str, Any]

    @property
    def time_us(self) -> float:
        """How long it took."""
        return self.end_us - self.start_us


def read_torch_trace(export: Export) -> Profile:
    """Kernels and gaps of a trace; of one without a device, the operators. Raises UsageError."""
    trace = _parsed(export)
    events = list(_events(export, trace))
    kernels = [event for event in events if event.category in _KERNELS]
    copies = [event for event in events if event.category in _COPIES]
    if not kernels:
        return _of_host(export, events)
    is_xpu = any(event.category in _XPU for event in events)
    rows = merged(_kernel(event) for event in kernels)
    return Profile(
        tool=ProfileTool.TORCH_PROFILER,
        device=DeviceKind.XPU if is_xpu else DeviceKind.CUDA,
        device_name=_device_name(trace),
        kernels=rows,
        host_gaps=gaps([*kernels, *copies], span=kernels),
        sources={
            field: text for field, text in _SOURCES.items() if any(getattr(row, field) is not None for row in rows)
        },
        notes=(
            "no hardware counters: bytes, cache hits, tensor cores and stalls need ncu, unitrace or VTune",
            *([f"{len(copies)} copies and fills are in no kernel's time"] if copies else []),
        ),
    )


def is_torch_trace(export: Export) -> bool:
    """Whether the text is JSON with trace events; both a bare list and an object are in use."""
    return export.text.lstrip()[:1] in ("{", "[")


def gaps(busy: Sequence[Event], span: Sequence[Event]) -> HostGaps:
    """Time in which none of `busy` ran, from the first start of `span` to its last end."""
    start_us, end_us = min(event.start_us for event in span), max(event.end_us for event in span)
    reached_us, idle = start_us, []
    for event in sorted(busy, key=lambda event: event.start_us):
        waited_us = min(event.start_us, end_us) - reached_us
        if waited_us > _SLACK_US:
            idle.append(waited_us)
        reached_us = max(reached_us, event.end_us)
    return HostGaps(
        span_us=end_us - start_us, idle_us=math.fsum(idle), longest_us=max(idle, default=0.0), count=len(idle)
    )


def _parsed(export: Export) -> Mapping[str, Any]:
    try:
        trace = json.loads(export.text)
    except json.JSONDecodeError as error:
        what = f"not JSON ({error.msg}); the trace is damaged or was cut off while it was written: export it again"
        raise export.wrong(error.lineno, what) from error
    except RecursionError as error:
        raise export.wrong(None, "JSON nested too deeply to be a trace; give what export_chrome_trace wrote") from error
    trace = {_EVENTS: trace} if isinstance(trace, list) else trace
    if not isinstance(trace, dict) or not isinstance(trace.get(_EVENTS), list):
        raise export.wrong(None, f"no list {_EVENTS!r}; give what torch.profiler's export_chrome_trace wrote")
    return trace


def _events(export: Export, trace: Mapping[str, Any]) -> Iterator[Event]:
    """Complete events (`ph` X), whatever else there is left out."""
    for position, event in enumerate(trace[_EVENTS]):
        if not isinstance(event, dict) or event.get("ph") != "X":
            continue
        start, duration = _time(event.get("ts")), _time(event.get("dur", 0))
        if start is None or duration is None or duration < 0:
            what = f"{_EVENTS}[{position}] has no usable `ts` and `dur`; the trace is damaged: export it again"
            raise export.wrong(None, what)
        arguments = event.get("args")
        yield Event(
            name=str(event.get("name", "")),
            category=str(event.get("cat", "")).lower(),
            start_us=start,
            end_us=start + duration,
            thread=(str(event.get("pid")), str(event.get("tid"))),
            arguments=arguments if isinstance(arguments, dict) else {},
        )


def _time(value: Any) -> float | None:
    """A finite number, or None; JSON's integers may be longer than a float can say."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e18 else None


def _kernel(event: Event) -> KernelProfile:
    arguments = event.arguments
    occupancy = _positive(arguments.get(_ESTIMATED))  # 0 is what Kineto writes where it cannot tell
    return KernelProfile(
        name=event.name,
        launches=1,
        time_us=event.time_us,
        threads_per_block=_volume(arguments.get("block")),
        blocks=_volume(arguments.get("grid")),
        registers_per_thread=_count(arguments.get("registers per thread")),
        shared_bytes=_count(arguments.get("shared memory")),
        occupancy_achieved=None if occupancy is None else min(1.0, occupancy / 100),
    )


def _positive(value: Any) -> float | None:
    number = _time(value)
    return number if number is not None and number > 0 else None


def _count(value: Any) -> int | None:
    number = _time(value)
    return int(number) if number is not None and number >= 0 else None


def _volume(sizes: Any) -> int | None:
    if not isinstance(sizes, list) or not all(_positive(size) for size in sizes):
        return None
    return math.prod(int(size) for size in sizes) or None


def _device_name(trace: Mapping[str, Any]) -> str | None:
    devices = trace.get("deviceProperties")
    first = devices[0] if isinstance(devices, list) and devices else None
    return str(first["name"]) if isinstance(first, dict) and first.get("name") else None


def _of_host(export: Export, events: Sequence[Event]) -> Profile:
    operators = [event for event in events if event.category in _OPERATORS]
    if not operators:
        raise export.wrong(None, "no kernel and no operator in it; profile a call with activities CPU and the device's")
    return Profile(
        tool=ProfileTool.TORCH_PROFILER,
        device=DeviceKind.CPU,
        kernels=merged(own_times(operators)),
        sources={"time_us": "dur, without the operators inside"},
        notes=(
            "no device in the trace: kernels are operators, with the time spent in themselves",
            "no hardware counters: the torch profiler has none on a CPU",
        ),
    )


def own_times(operators: Iterable[Event]) -> Iterator[KernelProfile]:
    """Each operator with the time in which none inside it ran, on its own thread."""
    open_: dict[tuple[str, str], list[tuple[Event, list[float]]]] = {}
    closed: list[tuple[Event, list[float]]] = []
    for event in sorted(operators, key=lambda event: (event.start_us, -event.end_us)):
        stack = open_.setdefault(event.thread, [])
        while stack and stack[-1][0].end_us < event.end_us - _SLACK_US:
            stack.pop()
        entry: tuple[Event, list[float]] = (event, [])
        if stack:
            stack[-1][1].append(event.time_us)
        stack.append(entry)
        closed.append(entry)
    for event, inside_us in closed:
        yield KernelProfile(name=event.name, launches=1, time_us=max(0.0, event.time_us - math.fsum(inside_us)))
