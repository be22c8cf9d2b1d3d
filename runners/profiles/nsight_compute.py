"""Nsight Compute's CSV: `ncu --csv --page raw` (a column for each metric) and the details page (a row for each metric).

`reading.py` calls it. In the raw page the line below the header has the units; in the details page, and wherever
`--metrics` is given without a page, each row has its own. Values have thousands separators and prefixed units.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from everforge.model.device import DeviceKind
from everforge.model.kernel_profile import KernelProfile, Profile, ProfileTool
from everforge.runners.profiles.export_text import Export, Row
from everforge.runners.profiles.merging import merged
from everforge.runners.profiles.nsight_metrics import Launch, Metric, has_its_unit, is_wanted, kernel_of, sources_of
from everforge.runners.profiles.quantities import factor, number

_NAME, _VALUE, _UNIT = "Metric Name", "Metric Value", "Metric Unit"
_KERNEL = "Kernel Name"
# Columns of both pages that are no metrics.
_ABOUT = frozenset(
    {
        "ID",
        "Process ID",
        "Process Name",
        "Host Name",
        "Kernel Name",
        "Kernel Time",
        "Context",
        "Stream",
        "Block Size",
        "Grid Size",
        "Device",
        "CC",
        "Section Name",
    }
)


def read_nsight_compute(export: Export) -> Profile:
    """The launches of an export, those of one kernel as one. Raises UsageError that names the line."""
    rows = list(export.rows(_header_line(export)))
    launches = list(_long(export, rows) if _NAME in rows[0].cells else _wide(export, rows))
    if not launches:
        what = "no kernel was profiled; check ncu's --kernel-name and --launch-skip, and that it may read counters"
        raise export.wrong(rows[0].line, what)
    kernels = merged(kernel_of(launch) for launch in launches)
    names = {name for launch in launches for name in launch.metrics}
    return Profile(
        tool=ProfileTool.NSIGHT_COMPUTE,
        device=DeviceKind.CUDA,
        kernels=kernels,
        sources=sources_of(names),
        notes=tuple(_notes(kernels)),
    )


def is_nsight_compute(export: Export) -> bool:
    """Whether the text has the header of ncu's CSV."""
    return any(_is_header(line) for line in export.text.splitlines())


def _is_header(line: str) -> bool:
    """ncu quotes every cell; `Kernel Name` is the one column of all pages and versions."""
    return f'"{_KERNEL}"' in line and line.lstrip("\ufeff").startswith('"')


def _header_line(export: Export) -> int:
    for line, text in enumerate(export.text.splitlines(), start=1):
        if _is_header(text):
            return line
    what = 'no header with "Kernel Name"; export with: ncu --import REPORT.ncu-rep --csv --page raw'
    raise export.wrong(None, what)


def _checked(export: Export, header: Row, row: Row) -> dict[str, str]:
    """A row's cells by column. Raises UsageError.

    A row of the details page ends with a comma after its value, whether there are columns of rules behind it or not.
    """
    if any(row.cells[len(header.cells) :]):
        what = f"{len(row.cells)} cells below a header of {len(header.cells)}; the export is damaged: export it again"
        raise export.wrong(row.line, what)
    return dict(zip(header.cells, row.cells, strict=False))


def _is_progress(row: Row) -> bool:
    """ncu's own lines, and a program's output, lie between the rows where both went to one stream."""
    return len(row.cells) == 1 or row.cells[0].startswith("==")


def _long(export: Export, rows: list[Row]) -> Iterator[Launch]:
    """One row for each metric; rows without a metric are the rules' advice."""
    launches: dict[tuple[str, str, str], Launch] = {}
    for row in rows[1:]:
        if _is_progress(row):
            continue
        cells = _checked(export, rows[0], row)
        key = (cells.get("Process ID", ""), cells.get("ID", ""), cells.get(_KERNEL, ""))
        launch = launches.setdefault(key, Launch(key[2], _shape(cells)))
        name = cells.get(_NAME, "")
        if not name or not is_wanted(name):
            continue
        metric = _metric(export, row.line, cells.get(_VALUE, ""), cells.get(_UNIT, ""))
        if metric is not None and has_its_unit(name, metric):
            launch.metrics[name] = metric
    yield from launches.values()


def _wide(export: Export, rows: list[Row]) -> Iterator[Launch]:
    """One row for each launch, below a row of units."""
    units: dict[str, str] = {}
    for row in rows[1:]:
        if _is_progress(row):
            continue
        cells = _checked(export, rows[0], row)
        if not cells.get(_KERNEL):
            units = cells
            continue
        metrics = _shape(cells)
        for name, text in cells.items():
            if name in _ABOUT or not is_wanted(name):
                continue
            metric = _metric(export, row.line, text, units.get(name, ""))
            if metric is not None:
                metrics[name] = metric
        yield Launch(cells[_KERNEL], metrics)


def _metric(export: Export, line: int, text: str, unit: str) -> Metric | None:
    try:
        value = number(text)
        scaled = None if value is None else value * factor(unit)
    except ValueError as error:
        what = f"{error}; export again with a current ncu, or report the line: its format is new to this reader"
        raise export.wrong(line, what) from error
    return None if scaled is None or not math.isfinite(scaled) else Metric(scaled, unit == "%")


def _shape(cells: Mapping[str, str]) -> dict[str, Metric]:
    """Block and grid sizes from the columns of all pages: `(256, 1, 1)`."""
    sizes = {name: _volume(cells.get(name, "")) for name in ("Block Size", "Grid Size")}
    return {name: Metric(float(size), is_share=False) for name, size in sizes.items() if size}


def _volume(text: str) -> int | None:
    numbers = re.fullmatch(r"\((\d{1,10}), *(\d{1,10}), *(\d{1,10})\)", text)
    return math.prod(int(part) for part in numbers.groups()) if numbers else None


def _notes(kernels: Iterable[KernelProfile]) -> Iterator[str]:
    """What an analysis would have needed, and the option of ncu that adds it."""
    needed = {
        "bytes_read": "bytes of device memory: add --metrics dram__bytes_read.sum,dram__bytes_write.sum",
        "occupancy_achieved": "occupancy: add --section Occupancy",
        "registers_per_thread": "registers: add --section LaunchStats",
        "matrix_utilisation": "tensor cores: add --set full, or --metrics "
        "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active",
        "stalls": "stall reasons: export --page raw of a report with --section WarpStateStats",
    }
    kernels = list(kernels)
    for field, text in needed.items():
        if all(getattr(kernel, field) in (None, ()) for kernel in kernels):
            yield f"not in the export: {text}"
    yield "spilled bytes of a thread are not among ncu's metrics; Triton's compiler tells them"
    yield "times were taken while profiling, with clocks that ncu holds at base by default"
