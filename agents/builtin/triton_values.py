"""Names and lines for the values of a region: what a kernel's body is made of.

Rows, pointwise chains and matmul epilogues share it. Every tensor value has the shape (rows, columns) of its tile,
with 1 where it does not vary; a flat pointwise kernel has one dimension only.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from everforge.agents.builtin.plan import (
    COMPARISONS,
    ColumnCount,
    Constant,
    KernelRegion,
    Load,
    Pointwise,
    Pooled,
    Position,
    Reduce,
    Scan,
    Store,
)
from everforge.agents.builtin.triton_domain import Domain
from everforge.agents.builtin.triton_math import pointwise_text, truth_text
from everforge.agents.builtin.triton_windows import pooled_text


@dataclass(frozen=True)
class Masks:
    """Condition texts under which an element, a row's value or a column's value may be read or written."""

    element: str
    row: str
    column: str
    single: str  # shape of a tile of one element


TILE_MASKS = Masks(element="live", row="row_live", column="column_live", single="(1, 1)")
FLAT_MASKS = Masks(element="live", row="live", column="live", single="(1,)")

# Variables of the emitters' own in a kernel, which no value may be called.
_RESERVED = frozenset(
    (
        *(
            "tl",
            "triton",
            "row",
            "outer",
            "inner",
            "tiles",
            "part",
            "column",
            "live",
            "row_live",
            "column_live",
            "start",
            "block",
            "tile",
        ),
        *("accumulator", "product", "bias", "m_tiles", "n_tiles", "m_tile", "n_tile", "k", "k_live"),
        *("lhs", "rhs", "lhs_tile", "rhs_tile", "operand_lhs", "operand_rhs"),
    )
)


class ValueTexts:
    """The text of each value of a region in one kernel.

    `accumulators` maps a buffer's name to the variable that already holds it (the product of a matmul).
    """

    def __init__(
        self, region: KernelRegion, domain: Domain, masks: Masks, accumulators: dict[str, str] | None = None
    ) -> None:
        self.region = region
        self.domain = domain
        self.masks = masks
        self.names: list[str] = _names(region, accumulators or {})
        self._held = accumulators or {}

    def operand(self, number: int) -> str:
        """How other lines refer to a value."""
        return self.names[number]

    def line(self, number: int) -> str | None:
        """The assignment that computes a load or pointwise value; None for what needs none."""
        value = self.region.values[number]
        if isinstance(value, Load) and value.buffer not in self._held:
            return f"{self.names[number]} = {self._load(value)}"
        if isinstance(value, Pointwise):
            return f"{self.names[number]} = {self._pointwise(value)}"
        if isinstance(value, Position):
            return f"{self.names[number]} = column.to(tl.float32)"
        return None

    def store(self, store: Store) -> str:
        """The store of a value, for each element or for each row."""
        place, mask = self.store_index(store), self.masks.row if store.per_row else self.masks.element
        return f"tl.store({store.buffer}_ptr + {place}, {self.operand(store.value)}, mask={mask})"

    def store_index(self, store: Store) -> str:
        """Offset of what a store writes in its buffer."""
        if store.per_row and store.axes is None and self.domain.inner_from is None:
            return "row"
        return self.domain.index(self.region.stored_axes(store))

    def _load(self, load: Load) -> str:
        if isinstance(load, Pooled):
            return pooled_text(load, self.domain, self._mask(load) or f"tl.full({self.masks.single}, True, tl.int1)")
        index = self.domain.index(load.axes)
        mask = self._mask(load)
        if mask is None:
            return f"tl.load({load.buffer}_ptr{'' if index == '0' else f' + {index}'}).to(tl.float32)"
        return f"tl.load({load.buffer}_ptr + {index}, mask={mask}, other=0.0).to(tl.float32)"

    def _mask(self, load: Load) -> str | None:
        """Under which condition a load may be read; None where it always may."""
        axes = self.domain.merged(load.axes)
        # All rows of one outer position are there; only the inner ones may run past the end.
        first_masked = self.domain.inner_from or 0
        by_row = any(first_masked <= axis < self.domain.row_count for axis in axes)
        by_column = any(axis >= self.domain.row_count for axis in axes)
        if by_row and by_column:
            return self.masks.element
        return self.masks.row if by_row else self.masks.column if by_column else None

    def _pointwise(self, value: Pointwise) -> str:
        args = [self.operand(arg) for arg in value.args]
        computed = Load | Position | Pointwise | Reduce | Scan
        if not any(isinstance(self.region.values[arg], computed) for arg in value.args):
            args = [f"tl.full({self.masks.single}, {arg}, tl.float32)" for arg in args]
        if value.op == "where":
            return f"tl.where({self._condition(value.args[0])}, {args[1]}, {args[2]})"
        return pointwise_text(value.op, args)

    def _condition(self, number: int) -> str:
        """A value as a condition; a comparison is used as it is, without the detour over 1.0 and 0.0."""
        value = self.region.values[number]
        if is_folded(self.region, number) and isinstance(value, Pointwise):
            return truth_text(value.op, [self.operand(arg) for arg in value.args])
        return f"{self.operand(number)} != 0.0"


def needed(region: KernelRegion, targets: Iterable[int], known: frozenset[int] = frozenset()) -> list[int]:
    """The values `targets` are made of, themselves included and `known` ones left out, in order."""
    found: set[int] = set()
    pending = [target for target in targets if target not in known]
    while pending:
        number = pending.pop()
        if number in found:
            continue
        found.add(number)
        pending += [arg for arg in operands(region, number) if arg not in known]
    return sorted(found)


def operands(region: KernelRegion, number: int) -> tuple[int, ...]:
    """The values that the text of a value names: a comparison under a `where` is written out in place."""
    value = region.values[number]
    if isinstance(value, Pointwise):
        if value.op == "where" and is_folded(region, value.args[0]):
            return (*operands(region, value.args[0]), *value.args[1:])
        return value.args
    return (value.arg,) if isinstance(value, Reduce | Scan) else ()


def is_folded(region: KernelRegion, number: int) -> bool:
    """Whether a value, used as a condition, is written as the comparison it is."""
    value = region.values[number]
    if not isinstance(value, Pointwise) or value.op not in COMPARISONS:
        return False
    return any(not isinstance(region.values[arg], Constant | ColumnCount) for arg in value.args)


def number_text(number: float) -> str:
    """A float as Triton source."""
    if math.isnan(number) or math.isinf(number):
        return f'float("{number}")'
    text = repr(float(number))
    return f"({text})" if text.startswith("-") else text


def _names(region: KernelRegion, held: dict[str, str]) -> list[str]:
    """One name for each value: buffers keep theirs, constants are written out, the rest is numbered."""
    taken = set(_RESERVED) | {load.buffer for load in region.loads()}
    names: list[str] = []
    for number, value in enumerate(region.values):
        if isinstance(value, Constant):
            names.append(number_text(value.number))
        elif isinstance(value, ColumnCount):
            names.append("COLUMNS")
        elif isinstance(value, Load) and value.buffer in held:
            names.append(held[value.buffer])
        else:
            own = {value.buffer} - set(names) - _RESERVED if isinstance(value, Load) else set()
            names.append(_unused(_wish(value, number), (taken | set(names)) - own))
    return names


def _wish(value: Load | Position | Pointwise | Reduce | Scan, number: int) -> str:
    match value:
        case Pooled():
            return f"pooled_{value.op}_{number}"
        case Position():
            return f"position_{number}"
        case Load():
            return value.buffer
        case Reduce():
            return f"row_{value.op}_{number}"
        case Scan():
            return f"running_{value.op}_{number}"
        case _:
            return f"v{number}"


def _unused(wish: str, taken: set[str]) -> str:
    while wish in taken:
        wish += "_"
    return wish
