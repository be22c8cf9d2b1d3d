"""Rows whose elements lie apart in memory: how a row program's tiles are numbered when columns are outer dimensions.

`triton_rows.py` and `triton_split.py` open their kernels with it; `triton_launch.py` and `triton_space.py` ask which
kind a region is. For a sum over the middle of (B, N, C) the rows are (B, C) and the columns N. A program takes one
position along B (`outer`), TILE_ROWS neighbours along C (`inner`), and all of N in blocks: what it reads together
lies together, at any extent of C. Numbering rows by B·C would tear tiles at odd extents, and with them the compiler's
proof that neighbours are contiguous.
"""

import math

from everforge.agents.builtin.plan import KernelRegion
from everforge.agents.builtin.triton_domain import Domain


def is_strided(region: KernelRegion) -> bool:
    """Whether most of what a row program reads along its columns has a row axis innermost in memory."""
    if region.is_pointwise:
        return False
    votes = 0
    for load in region.loads():
        wide = [axis for axis in load.axes if region.domain[axis].literal != 1]
        if any(axis >= region.row_axes for axis in wide):
            size = math.prod(region.domain[axis].literal for axis in wide)
            votes += size if wide[-1] < region.row_axes else -size
    return votes > 0


def inner_axes(region: KernelRegion) -> int:
    """How many of a strided region's last row axes lie next to each other in all that is read along its columns."""
    counts = [_trailing_rows(region, load.axes) for load in region.loads() if load.axes]
    return min((count for count in counts if count), default=1)


def rows_domain(region: KernelRegion) -> Domain:
    """The merged axes of a row program, with its rows split in `outer` and `inner` where they are strided."""
    domain = Domain.of(region, region.row_axes)
    if is_strided(region):
        first = region.row_axes - inner_axes(region)
        domain.inner_from = next(i for i, group in enumerate(domain.groups) if first in group or group[0] >= first)
    return domain


def opening_lines(domain: Domain) -> list[str]:
    """Which rows a program has: `row_live` and the variables that index texts name."""
    if domain.inner_from is None:
        return [
            "row = (tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS))[:, None]",
            "row_live = row < ROWS",
        ]
    return [
        "tiles = tl.cdiv(INNER, TILE_ROWS)",
        "outer = (tl.program_id(0) // tiles).to(tl.int64) + tl.zeros((1, 1), tl.int64)",
        "inner = (tl.program_id(0) % tiles * TILE_ROWS + tl.arange(0, TILE_ROWS))[:, None]",
        "row_live = inner < INNER",
    ]


def _trailing_rows(region: KernelRegion, order: tuple[int, ...]) -> int:
    """How many of an order's innermost axes are the region's last row axes, in order; 0 if it has no columns."""
    if not any(axis >= region.row_axes for axis in order):
        return 0
    count = 0
    while count < len(order) and order[len(order) - 1 - count] == region.row_axes - 1 - count:
        count += 1
    return count
