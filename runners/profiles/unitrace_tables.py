"""The tables of a unitrace file, found by their headers: rows by column, numbers, launch shapes.

`unitrace.py` makes a profile of them. Kernels' names were quoted from some version on; without quotes their commas have
to be told from those between columns.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from everforge.runners.profiles.export_text import Export, Row
from everforge.runners.profiles.quantities import factor, number

TIMING = re.compile(r'\s*"?Kernel"?,\s*(?:"?Submit|"?Append)?.*\bCalls\b.*,\s*"?Time \(ns\)')
PROPERTIES = re.compile(r'\s*"?Kernel"?,.*\bSpill Memory Per Thread\b')
METRICS = re.compile(r'\s*"?Kernel"?,.*\bGpuTime\[ns\]')
# Stalls, sampled by instruction (--stall-sampling).
SAMPLES = re.compile(r'\s*"?Kernel"?,\s*IP\[Address\]')
_HEADERS = (TIMING, PROPERTIES, METRICS, SAMPLES)
# `name[SIMD16 {56; 1; 1} {64; 8; 1}]`: groups, then threads of one group.
_LAUNCH = re.compile(r"\[SIMD(?:\w+)?(?: \{([\d; ]+)\} \{([\d; ]+)\})?\]$|\[(?:\d+)\]$")
_METRIC = re.compile(r"(\w+)\[([^\]]*)\]")
AGAIN = "the file is damaged or cut off: export it again"


def table_rows(export: Export, header: re.Pattern[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line and cells by column of all tables with this header: metrics have one table for each instance.

    Raises UsageError for a row with fewer cells than its header.
    """
    lines = export.text.splitlines()
    for start in (at for at, line in enumerate(lines, start=1) if header.match(line)):
        end = next((at for at in range(start + 1, len(lines) + 1) if not _continues(lines[at - 1])), len(lines) + 1)
        table = iter(export.rows(start, end))
        columns = [cell.strip() for cell in next(table).cells]
        for row in table:
            yield row.line, _by_column(export, columns, row)


def _continues(line: str) -> bool:
    """A table ends at a blank line, at the next heading, or at a line of the program's own."""
    is_header = any(pattern.match(line) for pattern in _HEADERS)
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
        what = f"{len(cells)} cells below a header of {len(columns)}; {AGAIN}"
        raise export.wrong(row.line, what)
    name = ", ".join(cells[: surplus + 1])
    return dict(zip(columns, [name, *cells[surplus + 1 :]], strict=True))


def _without_end(cells: Sequence[str]) -> list[str]:
    """Metrics end each line with a comma."""
    return list(cells[:-1] if cells[-1] == "" else cells)


def number_reader(export: Export, line: int, cells: Mapping[str, str]) -> Callable[[str], float | None]:
    """Cells as numbers in base units but for nanoseconds; None for columns that are not there."""

    def value(column: str) -> float | None:
        unit = _METRIC.fullmatch(column)
        try:
            found = number(cells.get(column, ""))
            scale = factor(unit[2]) if unit and unit[2] == "%" else 1.0
        except ValueError as error:
            raise export.wrong(line, f"{column}: {error}; {AGAIN}") from error
        return None if found is None else max(0.0, found) * scale

    return value


def launch_of(kernel: str) -> dict[str, str | int | None]:
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
