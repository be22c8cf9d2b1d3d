"""Files that are whole or absent: a Ctrl-C or a full disk leaves the previous version, never half of one."""

import os
import tempfile
from pathlib import Path

from everforge.errors import UsageError


def write_atomically(path: Path, text: str) -> None:
    """Replace the file's text in one step; makes its folder. Raises UsageError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as scratch:
            scratch.write(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}; choose another --out") from None
    os.chmod(scratch.name, 0o644)
    os.replace(scratch.name, path)
