"""Pointwise chains in Triton: flat when every operand follows the domain's order, in tiles when one is transposed.

`triton_emitter.py` calls it; the epilogue of a vendor matmul is emitted here too.
"""

from dataclasses import replace

from everforge.agents.builtin.plan import KernelRegion
from everforge.agents.builtin.triton_domain import Domain, axis_orders
from everforge.agents.builtin.triton_rows import KernelText
from everforge.agents.builtin.triton_values import FLAT_MASKS, TILE_MASKS, Masks, ValueTexts, needed


def is_flat(region: KernelRegion) -> bool:
    """Whether one index over all elements serves: no operand is transposed, nothing is stored once for a row."""
    domain = Domain.of(region, 0)
    has_row_store = any(store.per_row for store in region.stores)
    return not has_row_store and not any(domain.is_transposed(order) for order in axis_orders(region))


def flat_body(region: KernelRegion) -> KernelText:
    """BLOCK neighbouring elements a program; WIDE where offsets pass 2^31."""
    domain = Domain.of(region, 0)
    opening = [
        "block = tl.program_id(0)",
        "if WIDE:",
        "    block = block.to(tl.int64)",
        "column = block * BLOCK + tl.arange(0, BLOCK)",
        "live = column < COLUMNS",
    ]
    return KernelText(_body(region, domain, FLAT_MASKS, opening), tuple(sorted(domain.sizes_used)), domain)


def tiled(region: KernelRegion) -> KernelRegion:
    """The region with its last axis as the columns, as `tile_body` needs it; rows with row stores stay."""
    if any(store.per_row for store in region.stores):
        return region
    return replace(region, row_axes=max(len(region.domain) - 1, 0))


def tile_body(region: KernelRegion) -> KernelText:
    """A tile of TILE_ROWS × BLOCK elements a program, so that rows and columns are both read in runs."""
    domain = Domain.of(region, region.row_axes)
    opening = [
        "row = (tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS))[:, None]",
        "column = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]",
        "row_live = row < ROWS",
        "column_live = column < COLUMNS",
        "live = row_live & column_live",
    ]
    return KernelText(_body(region, domain, TILE_MASKS, opening), tuple(sorted(domain.sizes_used)), domain)


def _body(region: KernelRegion, domain: Domain, masks: Masks, opening: list[str]) -> list[str]:
    texts = ValueTexts(region, domain, masks)
    lines = list(opening)
    for number in needed(region, [store.value for store in region.stores]):
        lines += [line for line in [texts.line(number)] if line]
    lines += [texts.store(store) for store in region.stores]
    return lines
