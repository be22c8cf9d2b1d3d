"""Which metrics of Nsight Compute each figure of a profile is read from, and the figures of one launch.

`nsight_compute.py` brings the metrics here, in base units. Names as in NVIDIA's Nsight Compute Profiling Guide; a
details page has the labels of its sections instead.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from everforge.model.kernel_profile import KernelProfile, Stall
from everforge.runners.profiles.merging import largest_first
from everforge.runners.profiles.quantities import share, whole

# A figure's metrics, the first that is there counts: names of the raw page, then labels of the details page.
_METRICS: dict[str, tuple[str, ...]] = {
    "time_us": ("gpu__time_duration.sum", "gpu__time_duration.avg", "gpu__time_active.avg", "Duration"),
    "registers_per_thread": ("launch__registers_per_thread", "Registers Per Thread"),
    "threads_per_block": ("launch__block_size", "Block Size"),
    "blocks": ("launch__grid_size", "Grid Size"),
    "waves": ("launch__waves_per_multiprocessor", "Waves Per SM"),
    "occupancy_achieved": ("sm__warps_active.avg.pct_of_peak_sustained_active", "Achieved Occupancy"),
    "occupancy_theoretical": ("sm__maximum_warps_per_active_cycle_pct", "Theoretical Occupancy"),
    "bytes_read": ("dram__bytes_read.sum",),
    "bytes_written": ("dram__bytes_write.sum",),
    "l2_hit_rate": ("lts__t_sector_hit_rate.pct", "L2 Hit Rate"),
    "bandwidth_bytes_per_s": ("dram__bytes.sum.per_second", "Memory Throughput"),
}
_SHARES = frozenset({"occupancy_achieved", "occupancy_theoretical", "l2_hit_rate"})
_COUNTS = frozenset({"registers_per_thread", "threads_per_block", "blocks"})
_SHARED = (
    ("launch__shared_mem_per_block_static", "Static Shared Memory Per Block"),
    ("launch__shared_mem_per_block_dynamic", "Dynamic Shared Memory Per Block"),
)
_BLOCK_LIMITS: dict[str, tuple[str, ...]] = {
    "registers": ("launch__occupancy_limit_registers", "Block Limit Registers"),
    "shared_memory": ("launch__occupancy_limit_shared_mem", "Block Limit Shared Mem"),
    "warps": ("launch__occupancy_limit_warps", "Block Limit Warps"),
    "blocks": ("launch__occupancy_limit_blocks", "Block Limit SM"),
}
_ACTIVE = ("sm__cycles_active.avg", "SM Active Cycles")
_ELAPSED = ("sm__cycles_elapsed.avg", "sm__cycles_elapsed.max", "Elapsed Cycles")
_MATRIX = re.compile(r"sm__(?:inst_executed_)?pipe_tensor\w*\.avg\.pct_of_peak_sustained_(?:active|elapsed)")
_STALL = re.compile(r"smsp__average_warps_issue_stalled_(\w+?)_per_issue_active\.ratio")
_SAMPLED_STALL = re.compile(r"smsp__pcsamp_warps_issue_stalled_(\w+?)(?<!_not_issued)")
_WARP_LATENCY = "smsp__average_warp_latency_per_inst_issued.ratio"
_THREAD_OPERATIONS = {"fadd": 1, "fmul": 1, "ffma": 2, "dadd": 1, "dmul": 1, "dfma": 2, "hadd": 1, "hmul": 1, "hfma": 2}
_NOT_STALLED = "selected"  # the cycle in which the warp issues


class Metric(NamedTuple):
    """One value of one launch: in base units, and whether it is a percentage."""

    value: float
    is_share: bool


class Launch(NamedTuple):
    """One profiled launch of a kernel."""

    kernel: str
    metrics: dict[str, Metric]


def is_wanted(name: str) -> bool:
    """Whether a figure is read from this metric; the hundreds of others are passed over unread."""
    patterns = (_MATRIX, _STALL, _SAMPLED_STALL)
    return name in _WANTED or any(pattern.fullmatch(name) for pattern in patterns)


def has_its_unit(name: str, metric: Metric) -> bool:
    """The details page has two figures under one label: Memory Throughput in % of peak, and in byte/s."""
    return name != "Memory Throughput" or not metric.is_share


def kernel_of(launch: Launch) -> KernelProfile:
    """The figures of one launch; what it has no metric for is None."""
    metrics = launch.metrics
    fields: dict[str, float | int | None] = {}
    for field, names in _METRICS.items():
        value = _first(metrics, names)
        fields[field] = share(value) if field in _SHARES else whole(value) if field in _COUNTS else value
    for field in ("threads_per_block", "blocks"):
        fields[field] = fields[field] or None
    seconds = fields.pop("time_us")
    static = [_first(metrics, names) for names in _SHARED]
    moved = fields["bytes_read"], fields["bytes_written"]
    if fields["bandwidth_bytes_per_s"] is None and seconds and moved[0] is not None and moved[1] is not None:
        fields["bandwidth_bytes_per_s"] = (moved[0] + moved[1]) / seconds
    return KernelProfile(
        name=launch.kernel,
        launches=1,
        time_us=None if seconds is None else seconds * 1e6,
        shared_bytes=whole(sum(part or 0.0 for part in static)) if static != [None, None] else None,
        block_limits=_limits(metrics),
        busy_share=_busy(metrics),
        matrix_utilisation=share(max(_matching(metrics, _MATRIX).values(), default=None)),
        stalls=_stalls(metrics),
        flops_per_s=_flops_per_s(metrics, seconds),
        **fields,
    )


def _first(metrics: Mapping[str, Metric], names: Iterable[str]) -> float | None:
    return next((max(0.0, metrics[name].value) for name in names if name in metrics), None)


def _matching(metrics: Mapping[str, Metric], pattern: re.Pattern[str]) -> dict[str, float]:
    """Values of the metrics a pattern matches, by its group, or by name where it has none."""
    found = ((pattern.fullmatch(name), metric) for name, metric in metrics.items())
    return {match[match.lastindex or 0]: max(0.0, metric.value) for match, metric in found if match}


def _limits(metrics: Mapping[str, Metric]) -> dict[str, int]:
    found = {resource: whole(_first(metrics, names)) for resource, names in _BLOCK_LIMITS.items()}
    return {resource: blocks for resource, blocks in found.items() if blocks is not None}


def _busy(metrics: Mapping[str, Metric]) -> float | None:
    active, elapsed = _first(metrics, _ACTIVE), _first(metrics, _ELAPSED)
    return None if active is None or not elapsed else share(active / elapsed)


def _stalls(metrics: Mapping[str, Metric]) -> tuple[Stall, ...]:
    """Cycles by reason over those between two instructions of a warp; samples where there are no cycles."""
    cycles = _matching(metrics, _STALL)
    total = max(_first(metrics, [_WARP_LATENCY]) or 0.0, sum(cycles.values()))
    if not cycles:
        cycles = _matching(metrics, _SAMPLED_STALL)
        total = sum(cycles.values())
    if total <= 0:
        return ()
    shares = {reason: value / total for reason, value in cycles.items() if reason != _NOT_STALLED and value > 0}
    return largest_first(Stall(reason=reason, share=min(1.0, value)) for reason, value in shares.items())


def _flops_per_s(metrics: Mapping[str, Metric], seconds: float | None) -> float | None:
    """Additions and multiplications of threads; None where tensor cores add to them, which have no such counter."""
    counts = {name: metrics.get(_operation(name)) for name in _THREAD_OPERATIONS}
    fp32 = [counts[name] for name in ("fadd", "fmul", "ffma")]
    if not seconds or None in fp32 or any(_matching(metrics, _MATRIX).values()):
        return None
    total = sum(_THREAD_OPERATIONS[name] * count.value for name, count in counts.items() if count is not None)
    return max(0.0, total) / seconds


def _operation(name: str) -> str:
    return f"smsp__sass_thread_inst_executed_op_{name}_pred_on.sum"


_WANTED = frozenset(
    {name for names in (*_METRICS.values(), *_SHARED, *_BLOCK_LIMITS.values(), _ACTIVE, _ELAPSED) for name in names}
    | {_WARP_LATENCY}
    | {_operation(name) for name in _THREAD_OPERATIONS}
)


def sources_of(present: set[str]) -> dict[str, str]:
    """Which metric each figure was read from."""
    tables = {**_METRICS, "shared_bytes": tuple(name for names in _SHARED for name in names), "busy_share": _ACTIVE}
    sources = {field: next((name for name in names if name in present), "") for field, names in tables.items()}
    patterns = {"matrix_utilisation": (_MATRIX,), "stalls": (_STALL, _SAMPLED_STALL)}
    for field, matchers in patterns.items():
        sources[field] = next((name for matcher in matchers for name in sorted(present) if matcher.fullmatch(name)), "")
    return {field: source for field, source in sources.items() if source}
