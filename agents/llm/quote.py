"""Quotes foreign text in a prompt: what programs print is data, fenced, shortened, free of control characters.

`prompt.py` and `feedback.py` pass everything through here that Everforge did not write itself.
"""

import re
import unicodedata

# Escape sequences of terminals: CSI (colours, cursor), OSC (titles, links), and two-character ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_RUNS = re.compile(r"`+|~+")

# Of a long text, the first part and the last: a compiler's first error matters, and a traceback's last line.
_HEAD_SHARE = 2 / 3
_MARKER_CHARS = 60


def printable(text: str) -> str:
    """The text without escape sequences, control and formatting characters; tabs and newlines stay."""
    plain = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    return "".join(character for character in plain if character in "\n\t" or _is_visible(character))


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of the text, its beginning and its end, with the number left out between."""
    if len(text) <= limit:
        return text
    kept = max(0, limit - _MARKER_CHARS)
    head = int(kept * _HEAD_SHARE)
    tail = kept - head
    return f"{text[:head]}\n[… {len(text) - kept} characters left out …]\n{text[len(text) - tail :]}"


def fenced(text: str, tag: str) -> str:
    """The text in a fence longer than any it contains, so that it cannot end its own quotation."""
    longest = max((len(run) for run in _RUNS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{tag}\n{text.rstrip()}\n{fence}"


def quoted(text: str, limit: int, tag: str = "text") -> str:
    """Foreign text, fit to stand in a prompt: at most `limit` characters inside its fence."""
    return fenced(shortened(printable(text), limit), tag)


def inline(text: str, limit: int) -> str:
    """Foreign text on one line, without backticks, at most `limit` characters."""
    line = " ".join(printable(text).replace("`", "'").split())
    return line if len(line) <= limit else f"{line[: max(0, limit - 1)]}…"


def _is_visible(character: str) -> bool:
    """Not of a category C: control, format (bidirectional overrides), surrogate, private, unassigned."""
    return not unicodedata.category(character).startswith("C")
