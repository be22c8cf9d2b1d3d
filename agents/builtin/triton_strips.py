"""Pooling in steps of one row in Triton: a program walks down a strip of an image and folds every row once.

`triton_launch.py` writes it in place of the flat kernel. Neighbouring places along the height share all rows of their
windows but one: with the folds of the last rows at hand, a place costs as many loads as its window is wide, not as
many as it has taps (4 and not 16 for 4 × 4 windows, at which the flat kernel is bound by L1 and not by memory).
"""

from dataclasses import replace
from itertools import pairwise

from everforge.agents.builtin.plan import KernelRegion, Pooled
from everforge.agents.builtin.triton_domain import Domain
from everforge.agents.builtin.triton_rows import KernelText, indented
from everforge.agents.builtin.triton_values import TILE_MASKS, ValueTexts, needed
from everforge.agents.builtin.triton_windows import pooled_text

_JOINED = {"sum": "{0} + {1}", "max": "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)"}


def can_strip(region: KernelRegion) -> bool:
    """Whether a chain pools images in steps of one row, several rows at a time, and stores them as they lie."""
    folds = _folds(region)
    along = len(region.domain) - 2
    return (
        bool(folds)
        and region.is_pointwise
        and all(not store.per_row and store.axes is None for store in region.stores)
        and all(_slides(value, along) for value in folds.values())
    )


def striped(region: KernelRegion) -> KernelRegion:
    """The region with its last axis as the columns, as `strip_body` needs it."""
    return replace(region, row_axes=len(region.domain) - 1)


def strip_body(region: KernelRegion) -> KernelText:
    """SPAN rows of one image, BLOCK columns of them, a program; HEIGHT rows of places an image."""
    domain = Domain.of(region, region.row_axes)
    texts, folds = ValueTexts(region, domain, TILE_MASKS), _folds(region)
    lines = [
        "strips = tl.cdiv(HEIGHT, SPAN)",
        "image = (tl.program_id(0) // strips).to(tl.int64)",
        "first = tl.program_id(0) % strips * SPAN",
        "column = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]",
        "column_live = column < COLUMNS",
        "row = image * HEIGHT + first + tl.zeros((1, 1), tl.int64)",
    ]
    for number, value in folds.items():
        lines += [f"fold_{number}_{row} = {_row_fold(value, row, domain)}" for row in range(value.windows[0].size - 1)]
    body = ["row = image * HEIGHT + first + step + tl.zeros((1, 1), tl.int64)"]
    body += ["row_live = first + step < HEIGHT", "live = row_live & column_live"]
    for number in needed(region, [store.value for store in region.stores]):
        if number in folds:
            body += _slide(number, folds[number], texts, domain)
        else:
            body += [line for line in [texts.line(number)] if line]
    body += [texts.store(store) for store in region.stores]
    lines += ["for step in range(SPAN):", *indented(body)]
    return KernelText(lines, tuple(sorted(domain.sizes_used)), domain)


def _folds(region: KernelRegion) -> dict[int, Pooled]:
    """The pooled values that read memory, by number."""
    found = {number: value for number, value in enumerate(region.values) if isinstance(value, Pooled)}
    return {number: value for number, value in found.items() if value.op != "count"}


def _slides(value: Pooled, along: int) -> bool:
    """Whether windows of an image move by one row along that axis of the domain, and by columns along the next."""
    if len(value.windows) != 2:
        return False
    height, width = value.windows
    alone = height.axes == (along,) and width.axes == (along + 1,)
    return alone and (height.stride, height.dilation) == (1, 1) and height.size > 1


def _row_fold(value: Pooled, below: int, domain: Domain) -> str:
    """The fold of one row under the windows, so many rows `below` their first."""
    height, width = value.windows
    single = replace(height, size=1, padding=height.padding - below)
    return pooled_text(replace(value, windows=(single, width)), domain, "column_live", bounded=True)


def _slide(number: int, value: Pooled, texts: ValueTexts, domain: Domain) -> list[str]:
    """The newest row's fold, what it makes with those before it, and these one place further."""
    count = value.windows[0].size
    names = [f"fold_{number}_{row}" for row in range(count)]
    lines = [f"{names[-1]} = {_row_fold(value, count - 1, domain)}"]
    folded = names[0]
    for name in names[1:]:
        folded = _JOINED[value.op].format(folded, name)
    lines.append(f"{texts.operand(number)} = {folded}")
    return [*lines, *(f"{older} = {newer}" for older, newer in pairwise(names))]
