"""The text of an export, and errors that say where in it something is wrong.

Every adapter beside this file takes an Export. Profilers put lines of their own around a table (progress, warnings, a
program's output), so tables are read from a given line on.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from everforge.errors import UsageError

# A trace of a whole model takes some 100 MB; what is larger is not one of a kernel, and would fill the memory.
MAX_BYTES = 256 << 20
_GZIP = b"\x1f\x8b"
# PowerShell writes what it redirects as UTF-16.
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Row(NamedTuple):
    """One row of a table: its line in the export, from 1, and its cells without the spaces around them."""

    line: int
    cells: tuple[str, ...]


class Export(NamedTuple):
    """A profiler's output. `name` is what errors call it: its path."""

    name: str
    text: str

    def wrong(self, line: int | None, what: str) -> UsageError:
        """The error for the person who has this file: where, what is wrong, what to do."""
        return UsageError(f"{self.name}:{line}: {what}" if line else f"{self.name}: {what}")

    def rows(self, start: int, end: int | None = None, delimiter: str = ",") -> Iterator[Row]:
        """Rows of the table on the lines from `start` to before `end` (from 1), blank ones left out.

        Raises UsageError for what is no table, such as a quote that is never closed.
        """
        lines = self.text.splitlines()[start - 1 : None if end is None else end - 1]
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        before = 0
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                hint = "the export is damaged or cut off: export it again"
                raise self.wrong(start + reader.line_num - 1, f"not a row of a table ({error}); {hint}") from error
            line, before = start + before, reader.line_num
            if any(cell.strip() for cell in cells):
                yield Row(line, tuple(cell.strip() for cell in cells))


def read_export(path: Path) -> Export:
    """The text of a file, gzip undone. Raises UsageError if it cannot be read or is no text."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; give a profiler's export") from error
    return export_of(str(path), content)


def export_of(name: str, content: bytes) -> Export:
    """The text of an export's bytes. Raises UsageError for what is too long or no text."""
    if content.startswith(_GZIP):
        content = _unpacked(name, content)
    if len(content) > MAX_BYTES:
        raise UsageError(f"{name}: more than {MAX_BYTES >> 20} MiB; profile fewer calls, one is enough")
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    try:
        return Export(name, content.decode(encoding))
    except UnicodeDecodeError as error:
        hint = "give an export as text, not the tool's own report file (.ncu-rep, a VTune result)"
        raise UsageError(f"{name}: not text (byte {error.start}); {hint}") from error


def _unpacked(name: str, content: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{name}: a gzip file that ends early or is damaged ({error}); copy it again") from error
