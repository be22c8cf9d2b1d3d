"""unitrace's text: device timing summary, kernel properties, and metrics of each kernel instance.

`reading.py` calls it. One file holds any of the three tables (`unitrace -d`, `-v`, `-q`), in this order, with other
output between. Kernels' names were quoted from some version on, and with `-v` carry SIMD width and launch shape.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import KernelProfile, Profile, ProfileTool, Stall, completed
from everforge.runners.profiles.export_text import Export, Row
from everforge.runners.profiles.merging import largest_first, merged
from everforge.runners.profiles.quantities import factor, number, share, whole

_TIMING = re.compile(r'\s*"?Kernel"?,\s*(?:"?Submit|"?Append)?.*\bCalls\b.*,\s*"?Time \(ns\)')
_PROPERTIES = re.compile(r'\s*"?Kernel"?,.*\bSpill Memory Per Thread\b')
_METRICS = re.compile(r'\s*"?Kernel"?,.*\bGpuTime\[ns\]')
# `name[SIMD16 {56; 1; 1} {64; 8; 1}]`: groups, then threads of one group.
_LAUNCH = re.compile(r"\[SIMD(?:\w+)?(?: \{([\d; ]+)\} \{([\d; ]+)\})?\]$|\[(?:\d+)\]$")
_METRIC = re.compile(r"(\w+)\[([^\]]*)\]")
_STALL_REASONS = {
    "XVE_STALL_SBID[%]": "sbid",
    "XVE_STALL_SENDWR[%]": "send",
    "XVE_STALL_BARRIER[%]": "barrier",
    "XVE_STALL_INSTFETCH[%]": "instruction_fetch",
    "XVE_STALL_ALUWR[%]": "alu_write",
    "XVE_STALL_PIPESTALL[%]": "pipe",
    "XVE_STALL_PSDEPENDENCY[%]": "dependency",
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
    "stalls": "XVE_STALL…[%]",
}
_AGAIN = "export it again"


def read_unitrace(export: Export) -> Profile:
    """What unitrace wrote of kernels; metrics, times and properties of one kernel together. Raises UsageError."""
    timed = [_timed(export, line, cells) for line, cells in _table_rows(export, _TIMING)]
    made = [_made(export, line, cells) for line, cells in _table_rows(export, _PROPERTIES)]
    counted = [_counted(export, line, cells) for line, cells in _table_rows(export, _METRICS)]
    if not timed and not counted:
        raise export.wrong(None, _empty(export))
    first = _profile(timed or counted)
    if timed:
        first = completed(first, _of_same_launches(_profile(counted), first))
    first = completed(first, _profile(made))
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
    return any(pattern.match(line) for line in export.text.splitlines() for pattern in (_TIMING, _METRICS))


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


def _table_rows(export: Export, header: re.Pattern[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of all tables with this header, by column: metrics have one table for each instance."""
    lines = export.text.splitlines()
    for start in (at for at, line in enumerate(lines, start=1) if header.match(line)):
        end = next((at for at in range(start + 1, len(lines) + 1) if not _continues(lines[at - 1])), len(lines) + 1)
        table = iter(export.rows(start, end))
        columns = [cell.strip() for cell in next(table).cells]
        for row in table:
            yield row.line, _by_column(export, columns, row)


def _continues(line: str) -> bool:
    """A table ends at a blank line, at the next heading, or at a line of the program's own."""
    is_header = any(pattern.match(line) for pattern in (_TIMING, _PROPERTIES, _METRICS))
    return "," in line and not line.startswith("==") and not is_header


def _by_column(export: Export, columns: Sequence[str], row: Row) -> dict[str, str]:
    """Cells by column. A name without quotes may hold commas: the surplus at the front is the name's.

    Older versions print the numbers of kernel properties with spaces between instead of commas.
    """
    columns, cells = _without_end(columns), _without_end(row.cells)
    if len(cells) < len(columns):
        cells = [*cells[:-1], *cells[-1].split()]
    surplus = len(cells) - len(columns)
    if surplus < 0:
        what = f"{len(cells)} cells below a header of {len(columns)}; the file is damaged or cut off: {_AGAIN}"
        raise export.wrong(row.line, what)
    name = ", ".join(cells[: surplus + 1])
    return dict(zip(columns, [name, *cells[surplus + 1 :]], strict=True))


def _without_end(cells: Sequence[str]) -> list[str]:
    """Metrics end each line with a comma."""
    return list(cells[:-1] if cells[-1] == "" else cells)


def _timed(export: Export, line: int, cells: Mapping[str, str]) -> KernelProfile:
    value = _reader(export, line, cells)
    time_ns, calls = value("Time (ns)"), whole(value("Calls"))
    if time_ns is None or calls is None or calls < 1:
        raise export.wrong(line, f"a kernel without calls or time; the file is damaged or cut off: {_AGAIN}")
    return KernelProfile(launches=calls, time_us=time_ns / 1e3, **_launch(cells["Kernel"]))


def _made(export: Export, line: int, cells: Mapping[str, str]) -> KernelProfile:
    value = _reader(export, line, cells)
    return KernelProfile(
        spilled_bytes=whole(value("Spill Memory Per Thread")),
        shared_bytes=whole(value("SLM Per Work Group")),
        registers_per_thread=whole(value("Register File Size Per Thread")),
        **_launch(cells["Kernel"]),
    )


def _counted(export: Export, line: int, cells: Mapping[str, str]) -> KernelProfile:
    value = _reader(export, line, cells)
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
        **_launch(cells["Kernel"]),
    )


def _rate(read: float | None, written: float | None, time_ns: float | None) -> float | None:
    """Bytes per second."""
    return None if read is None or written is None or not time_ns else (read + written) / time_ns * 1e9


def _stalls(value: Callable[[str], float | None], stalled: float | None) -> tuple[Stall, ...]:
    """By reason where the metric group has them, else as one."""
    by_reason = {reason: value(name) for name, reason in _STALL_REASONS.items()}
    known = {reason: part for reason, part in by_reason.items() if part}
    if not known and stalled:
        known = {"stalled": stalled}
    return largest_first(Stall(reason=reason, share=min(1.0, part)) for reason, part in known.items())


def _reader(export: Export, line: int, cells: Mapping[str, str]) -> Callable[[str], float | None]:
    """Cells as numbers in base units but for nanoseconds; None for columns that are not there."""

    def value(column: str) -> float | None:
        unit = _METRIC.fullmatch(column)
        try:
            found = number(cells.get(column, ""))
            scale = factor(unit[2]) if unit and unit[2] == "%" else 1.0
        except ValueError as error:
            raise export.wrong(line, f"{column}: {error}; the file is damaged or cut off: {_AGAIN}") from error
        return None if found is None else max(0.0, found) * scale

    return value


def _launch(kernel: str) -> dict[str, str | int | None]:
    """A kernel's name without its shape, and the shape."""
    name = kernel.strip().strip('"')
    shape = _LAUNCH.search(name)
    if shape is None:
        return {"name": name}
    groups, threads = (_volume(part) for part in shape.groups())
    return {"name": name[: shape.start()], "blocks": groups, "threads_per_block": threads}


def _volume(sizes: str | None) -> int | None:
    parts = [int(part) for part in (sizes or "").split(";") if part.strip()]
    return math.prod(parts) or None if parts else None


def _notes(timed: Sequence[object], made: Sequence[object], counted: Sequence[object]) -> Iterator[str]:
    if not timed:
        yield "no device timing summary: times are those of instances while counters were read; add -d"
    if not made:
        yield "no kernel properties (spills, shared local memory, registers): add -d -v"
    if not counted:
        yield "no hardware metrics (bytes, occupancy, XMX, stalls): add -q, and -g ComputeBasic where it is not default"
    yield "copies and fills of the runtime are listed as kernels: they take device time"
