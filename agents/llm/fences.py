"""Splits a model's reply into its code blocks, however the model fenced them; pure and linear in the reply.

`parse.py` picks from the blocks. Models open fences behind prose, indent them in lists, nest them in
docstrings, forget to close them, use tildes, and think aloud first, in tags of their own.
"""

import re
import textwrap
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

# The fence, its language, and the rest of the line. Possessive, and anchored at the start of a run of marks,
# so that a line of a million backticks costs one pass.
_FENCE = re.compile(r"(?<![`~])(?P<mark>`{3,}+|~{3,}+)[ \t]*+(?P<tag>[\w+#.-]*+)(?P<rest>[^`~]*+)$")
_THOUGHT = re.compile(r"<(?P<close>/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)

# A docstring of a kernel shows an example or two; more closing fences than that are not tried.
_CLOSINGS_TRIED = 8

IsComplete = Callable[[str], bool]


class Block(NamedTuple):
    """One fenced block: its text without common indentation, and whether its fence was closed."""

    text: str
    closed: bool


class _Fence(NamedTuple):
    """A line that can open a block, close one, or both."""

    line: int
    mark: str
    tag: str
    opens: bool
    closes: bool

    def ends(self, opening: "_Fence") -> bool:
        """Whether it can close what `opening` opened: same mark, at least as long (CommonMark 4.5)."""
        return self.closes and self.mark[0] == opening.mark[0] and len(self.mark) >= len(opening.mark)


def fenced_blocks(text: str, wanted: Sequence[int], is_complete: IsComplete) -> list[Block]:
    """Every fenced block, in order.

    A fence inside a string of the code does not end its block: of the closing fences the first that leaves
    complete code is taken. Only blocks around a line in `wanted` (ascending) are tried so.
    """
    lines = text.split("\n")
    fences = [fence for number, line in enumerate(lines) if (fence := _fence_at(number, line)) is not None]
    blocks: list[Block] = []
    position = 0
    while position < len(fences):
        if fences[position].opens:
            block, position = _block_from(lines, fences, position, wanted, is_complete)
            blocks.append(block)
        else:
            position += 1
    return blocks


def without_thoughts(reply: str) -> str:
    """The reply without sections like `<think>…</think>`; what precedes a lone closing tag was thought too.

    A tag inside a fenced block is code and stays.
    """
    kept: list[str] = []
    opening: _Fence | None = None
    thinking = False
    for number, line in enumerate(reply.split("\n")):
        fence = None if thinking else _fence_at(number, line)
        if opening is not None or fence is not None:
            kept.append(line)
            opening = _opening_after(opening, fence)
            continue
        said, thinking, was_thought = _spoken_part(line, thinking)
        if was_thought:
            kept.clear()
        kept.append(said)
    return "\n".join(kept)


def _fence_at(number: int, line: str) -> _Fence | None:
    found = _FENCE.search(line) if "```" in line or "~~~" in line else None
    if found is None:
        return None
    alone = not line[: found.start()].strip()
    return _Fence(
        line=number,
        mark=found["mark"],
        tag=found["tag"],
        opens=alone or not found["rest"].strip(),
        closes=alone,
    )


def _opening_after(opening: _Fence | None, fence: _Fence | None) -> _Fence | None:
    """The fence one is inside of after a line."""
    if fence is None:
        return opening
    if opening is None:
        return fence if fence.opens else None
    return None if fence.ends(opening) and not fence.tag else opening


def _spoken_part(line: str, thinking: bool) -> tuple[str, bool, bool]:
    """What of a line was said aloud, whether thinking goes on after it, whether all before was thought."""
    said, was_thought, end = "", False, 0
    for tag in _THOUGHT.finditer(line):
        if tag["close"] and not thinking:
            said, was_thought = "", True
        elif not thinking:
            said += line[end : tag.start()]
        thinking, end = not tag["close"], tag.end()
    return said + ("" if thinking else line[end:]), thinking, was_thought


def _block_from(
    lines: Sequence[str], fences: Sequence[_Fence], start: int, wanted: Sequence[int], is_complete: IsComplete
) -> tuple[Block, int]:
    """The block that the fence at `start` opens, and the position of the fence after it."""
    opening = fences[start]
    near = range(start + 1, min(len(fences), start + 1 + _CLOSINGS_TRIED))
    closings = [position for position in near if fences[position].ends(opening)]
    for position in closings:
        closing = fences[position]
        if _is_around(opening.line, closing.line, wanted):
            text = _text_between(lines, opening.line, closing.line)
            if is_complete(text):
                return Block(text, closed=True), position + 1
    # Unclosed, with fences inside its strings: tried only for the last few, each costs a pass over the rest.
    if not closings or (len(fences) - start <= _CLOSINGS_TRIED and _is_around(opening.line, len(lines), wanted)):
        rest = _text_between(lines, opening.line, len(lines))
        if not closings or is_complete(rest):
            return Block(rest, closed=False), len(fences)
    closing = fences[closings[0]]
    # A fence that names a language opens the next block: the one before it was never closed.
    closed = not closing.tag
    return Block(_text_between(lines, opening.line, closing.line), closed), closings[0] + int(closed)


def _is_around(first: int, last: int, wanted: Sequence[int]) -> bool:
    position = bisect_right(wanted, first)
    return position < len(wanted) and wanted[position] < last


def _text_between(lines: Sequence[str], opening: int, closing: int) -> str:
    return textwrap.dedent("\n".join(lines[opening + 1 : closing]))
