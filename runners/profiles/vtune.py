"""VTune's table of computing tasks: `vtune -report hotspots -group-by computing-task -format csv -csv-delimiter tab`.

`reading.py` calls it, for results of `-collect gpu-hotspots` or `gpu-offload`. Which columns there are depends on
`-column` and on the characterisation mode; warnings (`war: …`) come before the header. Columns in per cent have `(%)`
in their names. Names of columns hold commas, so that a comma as delimiter loses where one ends.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import KernelProfile, Profile, ProfileTool, Stall
from everforge.runners.profiles.export_text import Export, Row
from everforge.runners.profiles.merging import largest_first, merged
from everforge.runners.profiles.quantities import number, share, whole

_HEADER = re.compile(r'(?:war: .*)?"?(?:Source )?Computing Task(?: \([^)]*\))?"?(?=[\t;,|])')
_DELIMITERS = ("\t", ";", "|", ",")
_PERCENT = re.compile(r"\(%\)$")
# Time in which the device ran something, or nothing, that VTune gives no task.
_NO_TASK = re.compile(r"\[.*\]")
_TIME, _AVERAGE, _COUNT = "Computing Task:Total Time", "Computing Task:Average Time", "Computing Task:Instance Count"
_READ, _WRITTEN = "GPU Memory Bandwidth, GB/sec:Read", "GPU Memory Bandwidth, GB/sec:Write"
# Engines are called EU before Xe and XVE after; the first column that is there counts.
_OCCUPANCY = ("XVE Threads Occupancy", "EU Threads Occupancy")
_PEAK_OCCUPANCY = ("Peak XVE Threads Occupancy", "Peak EU Threads Occupancy")
_ACTIVE = ("XVE Array:Active", "EU Array:Active")
_STALLED = ("XVE Array:Stalled", "EU Array:Stalled")
_IDLE = ("XVE Array:Idle", "EU Array:Idle")
_XMX = ("XVE Pipelines:XMX active", "XVE Instructions:XMX active", "EU Instructions:XMX active")
_L3_MISSES = ("GPU L3:Miss Ratio",)
_SPILLED = ("Computing Task:Spill Memory Size", "Spill Memory Size")
_REASONS = "XVE Stall Reasons:"
_SOURCES: dict[str, tuple[str, ...]] = {
    "time_us": (_TIME,),
    "launches": (_COUNT,),
    "occupancy_achieved": _OCCUPANCY,
    "occupancy_theoretical": _PEAK_OCCUPANCY,
    "busy_share": _IDLE,
    "matrix_utilisation": _XMX,
    "l2_hit_rate": _L3_MISSES,
    "spilled_bytes": _SPILLED,
    "bandwidth_bytes_per_s": (_READ,),
    "stalls": _STALLED,
}


def read_vtune(export: Export) -> Profile:
    """The tasks of a hotspots report, the same kernel at several SIMD widths as one. Raises UsageError."""
    start, delimiter = _header(export)
    rows = export.rows(start, delimiter=delimiter)
    header = next(rows)
    columns = [_PERCENT.sub("", cell).strip() for cell in header.cells]
    kernels = [
        _kernel(export, row.line, cells)
        for row in rows
        if (cells := _by_column(export, columns, row)) is not None and not _NO_TASK.fullmatch(row.cells[0])
    ]
    if not kernels:
        raise export.wrong(
            header.line, "no computing task; collect with -collect gpu-hotspots, around kernels that run"
        )
    present = set(columns)
    sources = {field: next((name for name in names if name in present), "") for field, names in _SOURCES.items()}
    return Profile(
        tool=ProfileTool.VTUNE,
        device=DeviceKind.XPU,
        kernels=merged(kernels),
        sources={field: name for field, name in sources.items() if name},
        notes=tuple(_notes(present)),
    )


def is_vtune(export: Export) -> bool:
    """Whether the text has a table of computing tasks."""
    return any(_HEADER.match(line) for line in export.text.splitlines())


def _header(export: Export) -> tuple[int, str]:
    for line, text in enumerate(export.text.splitlines(), start=1):
        if _HEADER.match(text):
            return line, next(delimiter for delimiter in _DELIMITERS if delimiter in text)
    what = "no header `Computing Task`; report with: vtune -report hotspots -group-by computing-task -format csv"
    raise export.wrong(None, f"{what} -csv-delimiter tab")


def _by_column(export: Export, columns: list[str], row: Row) -> dict[str, str] | None:
    """Cells by column; None for VTune's own lines behind the table."""
    if len(row.cells) == 1:
        return None
    if len(row.cells) != len(columns):
        what = f"{len(row.cells)} cells below a header of {len(columns)}; report again with -csv-delimiter tab"
        raise export.wrong(row.line, what)
    return dict(zip(columns, row.cells, strict=True))


def _kernel(export: Export, line: int, cells: Mapping[str, str]) -> KernelProfile:
    def value(names: Iterable[str], scale: float = 1.0) -> float | None:
        name = next((name for name in names if name in cells), None)
        try:
            found = None if name is None else number(cells[name].removesuffix("s"))
        except ValueError as error:
            raise export.wrong(line, f"{name}: {error}; the report is damaged: export it again") from error
        return None if found is None else max(0.0, found) * scale

    seconds = value([_TIME])
    launches = whole(value([_COUNT]))
    average = value([_AVERAGE])
    if seconds is None and average is not None and launches is not None:
        seconds = average * launches
    read, written = value([_READ], 1e9), value([_WRITTEN], 1e9)
    idle, misses = value(_IDLE, 0.01), value(_L3_MISSES, 0.01)
    return KernelProfile(
        name=next(iter(cells.values())),
        launches=launches or None,
        time_us=None if seconds is None else seconds * 1e6,
        spilled_bytes=whole(value(_SPILLED)),
        occupancy_achieved=share(value(_OCCUPANCY, 0.01)),
        occupancy_theoretical=share(value(_PEAK_OCCUPANCY, 0.01)),
        busy_share=None if idle is None else share(1 - idle),
        matrix_utilisation=share(value(_XMX, 0.01)),
        l2_hit_rate=None if misses is None else share(1 - misses),
        bandwidth_bytes_per_s=None if read is None or written is None else read + written,
        bytes_read=None if read is None or seconds is None else read * seconds,
        bytes_written=None if written is None or seconds is None else written * seconds,
        stalls=_stalls(value(_STALLED, 0.01), {name: value([name], 0.01) for name in cells if _REASONS in name}),
    )


def _stalls(stalled: float | None, by_reason: Mapping[str, float | None]) -> tuple[Stall, ...]:
    """By reason where the columns are there, else as one."""
    known = {_word(name): part for name, part in by_reason.items() if part}
    if not known and stalled:
        known = {"stalled": stalled}
    return largest_first(Stall(reason=reason, share=min(1.0, part)) for reason, part in known.items())


def _word(column: str) -> str:
    return column.partition(_REASONS)[2].strip().lower().replace(" ", "_")


def _notes(present: set[str]) -> Iterator[str]:
    needed = {
        _TIME: "times",
        _ACTIVE[0]: "activity of the engines",
        _OCCUPANCY[0]: "achieved occupancy; it cannot be reported together with the peak one, report twice",
        _READ: "bandwidth of device memory: report again with -column GB/sec",
        _XMX[0]: "XMX utilisation: -knob characterization-mode=overview or instruction-count",
    }
    for column, text in needed.items():
        if column not in present:
            yield f"no column {column!r}: {text}"
    yield "bytes are bandwidth times time; registers and shared local memory are not in this report"
