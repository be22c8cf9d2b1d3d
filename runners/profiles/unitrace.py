"""unitrace's text: device timing summary, kernel properties, metrics of each kernel instance, sampled stalls.

`reading.py` calls it. One file holds any of the tables (`unitrace -d`, `-v`, `-q`, `--stall-sampling`), with other
output between; `unitrace_tables.py` finds them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import KernelProfile, Profile, ProfileTool, Stall, completed
from everforge.runners.profiles.export_text import Export
from everforge.runners.profiles.merging import largest_first, merged
from everforge.runners.profiles.quantities import share, whole
from everforge.runners.profiles.unitrace_tables import (
    AGAIN,
    METRICS,
    PROPERTIES,
    SAMPLES,
    TIMING,
    launch_of,
    number_reader,
    table_rows,
)

_STALL_REASONS = {
    "XVE_STALL_SBID[%]": "sbid",
    "XVE_STALL_SENDWR[%]": "send",
    "XVE_STALL_BARRIER[%]": "barrier",
    "XVE_STALL_INSTFETCH[%]": "instruction_fetch",
    "XVE_STALL_ALUWR[%]": "alu_write",
    "XVE_STALL_PIPESTALL[%]": "pipe",
    "XVE_STALL_PSDEPENDENCY[%]": "dependency",
}
# Sampled stalls: Active[Events] and SbidStall[Events], … for each instruction.
_ACTIVE = "Active[Events]"
_SAMPLED_REASONS = {
    "SbidStall[Events]": "sbid",
    "SendStall[Events]": "send",
    "SyncStall[Events]": "barrier",
    "InstrFetchStall[Events]": "instruction_fetch",
    "PipeStall[Events]": "pipe",
    "PSDepStall[Events]": "dependency",
    "DistStall[Events]": "distance",
    "ControlStall[Events]": "control",
    "OtherStall[Events]": "other",
}
_XMX = ("XVE_INST_EXECUTED_XMX_ALL_UTILIZATION[%]", "XVE_PIPE_XMX_ACTIVE[%]")
_SOURCES = {
    "time_us": "Time (ns) of the device timing summary, else GpuTime[ns]",
    "spilled_bytes": "Spill Memory Per Thread",
    "shared_bytes": "SLM Per Work Group",
    "registers_per_thread": "Register File Size Per Thread",
    "blocks": "launch shape of -v",
    "occupancy_achieved": "XVE_THREADS_OCCUPANCY_ALL[%]",
    "busy_share": "XVE_ACTIVE[%] + XVE_STALL[%]",
    "bytes_read": "GPU_MEMORY_BYTE_READ[bytes]",
    "bytes_written": "GPU_MEMORY_BYTE_WRITE[bytes]",
    "l2_hit_rate": "L3_HIT[events], L3_MISS[events]",
    "matrix_utilisation": _XMX[0],
    "stalls": "XVE_STALL…[%], else …Stall[Events]",
}


def read_unitrace(export: Export) -> Profile:
    """What unitrace wrote of kernels; metrics, times and properties of one kernel together. Raises UsageError."""
    timed = [_timed(export, line, cells) for line, cells in table_rows(export, TIMING)]
    made = [_made(export, line, cells) for line, cells in table_rows(export, PROPERTIES)]
    counted = [_counted(export, line, cells) for line, cells in table_rows(export, METRICS)]
    sampled = _sampled(export)
    if not timed and not counted and not sampled:
        raise export.wrong(None, _empty(export))
    # Reasons of single stalls go before the one figure of all of them.
    counted = [row.model_copy(update={"stalls": ()}) if row.name in sampled else row for row in counted]
    first = _profile(timed or counted or sampled.values())
    if timed:
        first = completed(first, _of_same_launches(_profile(counted), first))
    for rows in (made, sampled.values()):
        first = completed(first, _profile(rows))
    kernels = first.kernels
    sources = {
        field: source
        for field, source in _SOURCES.items()
        if any(getattr(kernel, field) not in (None, ()) for kernel in kernels)
    }
    return first.model_copy(update={"sources": sources, "notes": tuple(_notes(timed, made, counted))})


def is_unitrace(export: Export) -> bool:
    """Whether the text has one of unitrace's tables, or its summary without any."""
    if "=== Device Timing Summary ===" in export.text:
        return True
    return any(pattern.match(line) for line in export.text.splitlines() for pattern in (TIMING, METRICS, SAMPLES))


def _empty(export: Export) -> str:
    if is_unitrace(export):
        # unitrace collects in the waits of the runtime that it hooks; torch.xpu.synchronize() is none of them.
        return (
            "unitrace saw no kernel; end the profiled program with torch.xpu.current_stream().synchronize(), "
            "in which unitrace collects"
        )
    return "none of unitrace's tables is in it; run unitrace with -d -v, or with -q for metrics, and -o FILE"


def _profile(rows: Iterable[KernelProfile]) -> Profile:
    return Profile(tool=ProfileTool.UNITRACE, device=DeviceKind.XPU, kernels=merged(rows))


def _of_same_launches(counted: Profile, timed: Profile) -> Profile:
    """Bytes are sums over launches: without those of kernels whose metrics cover others than were timed."""
    launches = {kernel.name: kernel.launches for kernel in timed.kernels}
    no_sums = {"bytes_read": None, "bytes_written": None}
    return counted.model_copy(
        update={
            "kernels": tuple(
                kernel if launches.get(kernel.name) == kernel.launches else kernel.model_copy(update=no_sums)
                for kernel in counted.kernels
            )
        }
    )


def _timed(export: Export, line: int, cells: Mapping[str, str]) -> KernelProfile:
    value = number_reader(export, line, cells)
    time_ns, calls = value("Time (ns)"), whole(value("Calls"))
    if time_ns is None or calls is None or calls < 1:
        raise export.wrong(line, f"a kernel without calls or time; {AGAIN}")
    return KernelProfile(launches=calls, time_us=time_ns / 1e3, **launch_of(cells["Kernel"]))


def _made(export: Export, line: int, cells: Mapping[str, str]) -> KernelProfile:
    value = number_reader(export, line, cells)
    return KernelProfile(
        spilled_bytes=whole(value("Spill Memory Per Thread")),
        shared_bytes=whole(value("SLM Per Work Group")),
        registers_per_thread=whole(value("Register File Size Per Thread")),
        **launch_of(cells["Kernel"]),
    )


def _counted(export: Export, line: int, cells: Mapping[str, str]) -> KernelProfile:
    value = number_reader(export, line, cells)
    time_ns = value("GpuTime[ns]")
    read, written = value("GPU_MEMORY_BYTE_READ[bytes]"), value("GPU_MEMORY_BYTE_WRITE[bytes]")
    active, stalled = value("XVE_ACTIVE[%]"), value("XVE_STALL[%]")
    hits, misses = value("L3_HIT[events]"), value("L3_MISS[events]")
    return KernelProfile(
        launches=1,
        time_us=None if time_ns is None else time_ns / 1e3,
        bytes_read=read,
        bytes_written=written,
        bandwidth_bytes_per_s=_rate(read, written, time_ns),
        occupancy_achieved=share(value("XVE_THREADS_OCCUPANCY_ALL[%]")),
        busy_share=None if active is None or stalled is None else share(active + stalled),
        matrix_utilisation=share(next((v for name in _XMX if (v := value(name)) is not None), None)),
        l2_hit_rate=hits / (hits + misses) if hits is not None and misses is not None and hits + misses > 0 else None,
        stalls=_stalls(value, stalled),
        **launch_of(cells["Kernel"]),
    )


def _rate(read: float | None, written: float | None, time_ns: float | None) -> float | None:
    """Bytes per second."""
    return None if read is None or written is None or not time_ns else (read + written) / time_ns * 1e9


def _sampled(export: Export) -> dict[str, KernelProfile]:
    """Stalls by kernel: samples of all its instructions with a reason, over all samples."""
    samples: dict[str, dict[str, float]] = {}
    for line, cells in table_rows(export, SAMPLES):
        value = number_reader(export, line, cells)
        counts = samples.setdefault(str(launch_of(cells["Kernel"])["name"]), {})
        for column in (_ACTIVE, *_SAMPLED_REASONS):
            counts[column] = counts.get(column, 0.0) + (value(column) or 0.0)
    return {name: KernelProfile(name=name, stalls=_of_samples(counts)) for name, counts in samples.items()}


def _of_samples(counts: Mapping[str, float]) -> tuple[Stall, ...]:
    total = sum(counts.values())
    known = {column: count for column, count in counts.items() if count > 0 and column != _ACTIVE}
    return largest_first(
        Stall(reason=_SAMPLED_REASONS[column], share=min(1.0, count / total)) for column, count in known.items()
    )


def _stalls(value: Callable[[str], float | None], stalled: float | None) -> tuple[Stall, ...]:
    """By reason where the metric group has them, else as one."""
    by_reason = {reason: value(name) for name, reason in _STALL_REASONS.items()}
    known = {reason: part for reason, part in by_reason.items() if part}
    if not known and stalled:
        known = {"stalled": stalled}
    return largest_first(Stall(reason=reason, share=min(1.0, part)) for reason, part in known.items())


def _notes(timed: Sequence[object], made: Sequence[object], counted: Sequence[object]) -> Iterator[str]:
    if not timed:
        yield "no device timing summary: times are those of instances while counters were read; add -d"
    if not made:
        yield "no kernel properties (spills, shared local memory, registers): add -d -v"
    if not counted:
        yield "no hardware metrics (bytes, occupancy, XMX, stalls): add -q, and -g ComputeBasic where it is not default"
    yield "copies and fills of the runtime are listed as kernels: they take device time"
