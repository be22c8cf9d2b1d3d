"""Judges a candidate's source before anything of it runs: syntax tree only, no import, no torch.

The runner calls `judge_source` first of all, since it costs milliseconds. It is the outermost layer, not the
wall: it turns away what has no place in a kernel and says why, so that a model can mend it. What slips
through meets the jail, the parent's clock and the check of every output.

Falling back to plain PyTorch in a `try … except` is not refused here: the same lines are how an honest
candidate handles a shape its kernel does not cover, and whether the kernel ran is measured, not read.
"""

import ast
import re
import warnings
from collections.abc import Iterator

from everforge.model.base import Record
from everforge.model.verdict import Verdict
from everforge.runners.rules.static_walk import BrokenRule, Rule, Walk

# 256 KiB: the longest source the builtin generator writes is below 16 KiB. The worst text of this size found so far
# takes 2.4 s and 230 MB to judge; time and memory grow with the size.
MAX_SOURCE_BYTES = 256 << 10
# More than anybody mends at once; a hostile source could fill megabytes with them.
MOST_VIOLATIONS = 40

_LINE_END = re.compile(r"\r\n?|\n")
_ENCODING = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_UTF8_NAMES = frozenset(("utf-8", "utf8", "utf-8-sig", "utf_8"))
_NO_CANDIDATE = (Rule.SYNTAX, Rule.MODEL_CLASS)


class Violation(Record):
    """One broken rule: the source line, from 1, and why it is a rule."""

    line: int
    rule: Rule
    reason: str


class StaticFinding(Record):
    """Why a source goes no further."""

    verdict: Verdict
    reason: str
    violations: tuple[Violation, ...]


def judge_source(source: str) -> StaticFinding | None:
    """The verdict on a source that may not run, or None for one that may.

    COMPILE_ERROR: it does not parse or has no `class ModelNew`. REJECTED: it breaks a rule. Raises nothing,
    whatever the text is.
    """
    violations = check_source(source)
    if not violations:
        return None
    formal = [violation for violation in violations if violation.rule in _NO_CANDIDATE]
    first = (formal or violations)[0]
    others = "" if len(violations) == 1 else f" (and {len(violations) - 1} more)"
    return StaticFinding(
        verdict=Verdict.COMPILE_ERROR if formal else Verdict.REJECTED,
        reason=f"line {first.line}: {first.reason}{others}",
        violations=violations,
    )


def check_source(source: str) -> tuple[Violation, ...]:
    """The broken rules in the order of lines, MOST_VIOLATIONS at most; empty for a source that may run."""
    broken = _broken_before_parsing(source)
    if not broken:
        try:
            tree = _parse(source)
            broken = {*_broken_by_shape(tree), *Walk(tree).broken_rules()}
        except SyntaxError as error:
            broken = {(error.lineno or 1, Rule.SYNTAX, f"syntax error: {error.msg}")}
        except (ValueError, RecursionError, MemoryError) as error:  # lone surrogates; nesting past the parser
            broken = {(1, Rule.SYNTAX, f"Python cannot parse this: {error!r}")}
    return tuple(
        Violation(line=max(line, 1), rule=rule, reason=reason)
        for line, rule, reason in sorted(broken)[:MOST_VIOLATIONS]
    )


def _broken_before_parsing(source: str) -> set[BrokenRule]:
    size_bytes = len(source.encode("utf-8", "surrogatepass"))
    if size_bytes > MAX_SOURCE_BYTES:
        return {(1, Rule.SIZE, f"the source has {size_bytes} bytes, more than {MAX_SOURCE_BYTES}")}
    for number, line in enumerate(_LINE_END.split(source, maxsplit=2)[:2], start=1):
        encoding = _ENCODING.match(line)
        if encoding and encoding.group(1).lower() not in _UTF8_NAMES:
            # Python would decode the file into other text than the one checked here.
            return {(number, Rule.ENCODING, f"the encoding {encoding.group(1)[:40]} is not utf-8")}
    return set()


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in a candidate's string is its own affair
        return ast.parse(source)


def _broken_by_shape(tree: ast.Module) -> set[BrokenRule]:
    if any(isinstance(node, ast.ClassDef) and node.name == "ModelNew" for node in _module_level(tree)):
        return set()
    return {(1, Rule.MODEL_CLASS, "there is no `class ModelNew` at module level")}


def _module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that run at module level, inside `if`, `try` and `with` too, but not inside functions."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            pending += ast.iter_child_nodes(node)
