"""Finds the candidate in a model's reply: source text that defines `class ModelNew`, or why there is none.

Pure: `generator.py` calls it on replies that may be anything. It parses, never runs, what it finds.
"""

import ast
import html
import re
import warnings
from collections.abc import Iterator

from everforge.agents.llm.fences import Block, fenced_blocks, without_thoughts
from everforge.model.base import Record

# Longest part of a reply that is looked at: 131072 tokens, the longest reply asked for, at 8 characters.
REPLY_CHARS_LIMIT = 1 << 20
# Longest candidate: the largest published kernels are a tenth of it.
SOURCE_CHARS_LIMIT = 256 * 1024
# What the Python parser is given for one reply, at about 10 MB/s; a text counts 2 KB at least (0.2 ms).
_PARSED_CHARS_LIMIT = 8 << 20
_PARSED_CHARS_LEAST = 2048
_NOTE_CHARS_LIMIT = 160

_CLASS = re.compile(r"^[ \t]*class[ \t]+ModelNew\b", re.MULTILINE)
_STATEMENT = re.compile(r"(?:import|from|class|def|@|#|\"\"\"|'''|[A-Z_]+\s*=)")
_DECLARED = re.compile(r"^[ \t>*_#-]*(strategy|rewrites)[ \t*_]*:[ \t*_]*(.+)$", re.IGNORECASE | re.MULTILINE)


class Extraction(Record):
    """The candidate's source, or one sentence to the model on what is missing; exactly one is set."""

    source: str | None = None
    reason: str | None = None


class Declaration(Record):
    """What the model says of its candidate."""

    strategy: str = ""
    rewrites: tuple[str, ...] = ()


def extract(reply: str, cut_off: bool = False) -> Extraction:
    """The candidate in a reply: the last complete one, else the last that at least names `class ModelNew`.

    Code that does not parse is returned all the same, unless the reply was cut off: that it is broken is for
    the evaluation to say. Never raises.
    """
    text = without_thoughts(_normalised(reply[:REPLY_CHARS_LIMIT]))
    if _CLASS.search(text) is None:
        return Extraction(reason=_why_nothing(reply, text, cut_off))
    judge = _Judge()
    blocks = [block for block in _blocks(text, judge) if _CLASS.search(block.text)]
    complete = (form for block in reversed(blocks) if (form := judge.complete_form(block.text)) is not None)
    source = next(complete, None) or _unfenced(text, judge)
    if source is not None:
        return _bounded(source)
    if cut_off or (blocks and not blocks[-1].closed):
        return Extraction(reason="the code was cut off before its end; write a shorter candidate, in one block")
    if not blocks:
        return Extraction(reason="class ModelNew was mentioned, but not in a fenced block of Python code")
    return _bounded(blocks[-1].text)


def declaration(reply: str) -> Declaration:
    """The lines `Strategy: …` and `Rewrites: …; …` of a reply, outside of its code."""
    prose = without_thoughts(_normalised(reply[:REPLY_CHARS_LIMIT])).split("```", 1)[0]
    found = {name.lower(): value.strip()[:_NOTE_CHARS_LIMIT] for name, value in _DECLARED.findall(prose)}
    rewrites = [part.strip(" .") for part in found.get("rewrites", "").split(";")]
    return Declaration(
        strategy=found.get("strategy", ""),
        rewrites=tuple(part for part in rewrites if part and part.lower() not in ("none", "no", "n/a")),
    )


class _Judge:
    """Says whether a text is complete Python with a top-level ModelNew, within a budget of characters."""

    def __init__(self) -> None:
        self._left_chars = _PARSED_CHARS_LIMIT

    def complete_form(self, text: str) -> str | None:
        """The text as complete code, undoing what a gateway may have done to it; None if it is none."""
        return next((form for form in _forms(text) if self.is_complete(form)), None)

    def is_complete(self, text: str) -> bool:
        """Whether it parses and defines the class; False also once the budget is used up."""
        tree = self._tree(text)
        return isinstance(tree, ast.Module) and any(
            isinstance(node, ast.ClassDef) and node.name == "ModelNew" for node in tree.body
        )

    def error_line(self, text: str) -> int | None:
        """The line (from 1) where the text stops being Python; None if it does not say."""
        tree = self._tree(text)
        return tree.lineno if isinstance(tree, SyntaxError) else None

    def _tree(self, text: str) -> ast.Module | SyntaxError | None:
        self._left_chars -= max(len(text), _PARSED_CHARS_LEAST)
        if self._left_chars < 0 or len(text) > SOURCE_CHARS_LIMIT:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "\d" in a candidate's string is the candidate's affair
                return ast.parse(text)
        except SyntaxError as error:
            return error
        # NUL bytes; nesting too deep for the parser, or for the depth that CPython 3.11 loses count of.
        except (ValueError, RecursionError, MemoryError, SystemError):
            return None


def _forms(text: str) -> Iterator[str]:
    """The text, and what it may have been before a gateway or a template touched it."""
    yield text
    if text.rstrip().endswith(("```", "~~~")):
        yield text.rstrip("`~ \t\n") + "\n"  # a closing fence behind the last statement
    if "&" in text:
        yield html.unescape(text)


def _blocks(text: str, judge: _Judge) -> list[Block]:
    wanted = [number for number, line in enumerate(text.split("\n")) if _CLASS.match(line)]
    return fenced_blocks(text, wanted, lambda code: judge.complete_form(code) is not None)


def _unfenced(text: str, judge: _Judge) -> str | None:
    """Code that stands in the reply without a fence: from a line that may begin it to where it ends."""
    lines = text.split("\n")
    start_of_class = next(number for number, line in enumerate(lines) if _CLASS.match(line))
    starts = [number for number in range(start_of_class + 1) if _STATEMENT.match(lines[number])]
    for start in starts[:16]:
        end = len(lines)
        for _ in range(16):
            code = "\n".join(lines[start:end])
            if judge.is_complete(code):
                return code
            stop = judge.error_line(code)
            if stop is None or start + stop - 1 <= start_of_class:
                break
            end = start + stop - 1
    return None


def _bounded(source: str) -> Extraction:
    stripped = source.strip("\n") + "\n"
    if len(stripped) > SOURCE_CHARS_LIMIT:
        return Extraction(reason=f"the code has {len(stripped)} characters of at most {SOURCE_CHARS_LIMIT}")
    if "\0" in stripped:
        return Extraction(reason="the code contains NUL characters, so Python cannot read it")
    return Extraction(source=stripped)


def _why_nothing(reply: str, text: str, cut_off: bool) -> str:
    if not reply.strip():
        return "the reply was empty"
    if cut_off:
        return "the reply was cut off before any code; think and explain less, and begin with the code"
    if _CLASS.search(_normalised(reply[:REPLY_CHARS_LIMIT])):
        return "the code stood only inside the thinking section; repeat it in the answer"
    if "```" in text or "~~~" in text:
        return "no fenced block defines class ModelNew"
    return "the reply contains no code"


def _normalised(reply: str) -> str:
    return reply.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
