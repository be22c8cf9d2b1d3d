"""Distils what compilers and tracebacks print to what a model can act on; `feedback.py` quotes the result.

Frames of libraries, compiler command lines and directories of this machine help nobody mend a kernel; they cost
tokens on every request, and the paths are nobody's business at the other end.
"""

import re
from collections.abc import Iterator

# A line of source or an error message fits; a compiler's command line with its 20 include paths does not.
LINE_CHARS_LIMIT = 300

_FRAME = re.compile(r'\s*File "(?P<path>[^"]*)"')
_LIBRARY = re.compile(r"/site-packages/|/dist-packages/|/lib/python3|/everforge/|^<frozen ")
# Three components or more: `x / y` and `int32/float` are no paths.
_PATH = re.compile(r"(?<![\w.])(?:/[\w.+@~-]+){2,}/(?P<name>[\w.+@~-]+)")


def distilled(text: str) -> str:
    """The text without library frames, with file names for paths, and with long lines shortened."""
    lines = (_shortened(_PATH.sub(r"\g<name>", line)) for line in _own_lines(text.split("\n")))
    return "\n".join(lines)


def _own_lines(lines: list[str]) -> Iterator[str]:
    """All lines but the frames of libraries, each with the source lines that a traceback prints below it."""
    skipping, left_out = False, 0
    for line in lines:
        frame = _FRAME.match(line)
        if frame is not None:
            skipping = _LIBRARY.search(frame["path"]) is not None
            left_out += skipping
        elif not line.startswith("    "):
            skipping = False
        if skipping:
            continue
        if left_out:
            yield f"  [frames of libraries left out: {left_out}]"
            left_out = 0
        yield line


def _shortened(line: str) -> str:
    left_out = len(line) - LINE_CHARS_LIMIT
    return line if left_out <= 0 else f"{line[:LINE_CHARS_LIMIT]}… ({left_out} more characters)"
