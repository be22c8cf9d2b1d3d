"""Where an element of a region lies in a buffer: merges a region's axes and writes the index expressions.

The emitters of rows, pointwise chains and matmul epilogues use it. Neighbouring axes that every load treats as one
are merged, so most regions end with one row axis and one column axis and need no division.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from everforge.agents.builtin.plan import KernelRegion


@dataclass
class Domain:
    """The merged axes of a region: groups of original axes, the first `row_count` of them numbering rows.

    Index texts call the row number `row` and the column number `column`; sizes that a text needs are collected in
    `sizes_used` as positions of merged axes, and become compile-time arguments `A<position>` of the kernel.

    Where `inner_from` is given, the kernel numbers rows by two variables: `inner` counts along the row axes from that
    position on, which lie next to each other in memory, and `outer` along those before it.
    """

    groups: tuple[tuple[int, ...], ...]
    row_count: int
    sizes_used: set[int] = field(default_factory=set)
    literals: tuple[int, ...] = ()  # traced extents of the original axes
    inner_from: int | None = None

    @staticmethod
    def of(region: KernelRegion, row_axes: int) -> "Domain":
        """Merge the axes of `region`, its first `row_axes` apart from the others."""
        orders = axis_orders(region)
        groups: list[list[int]] = []
        for axis in range(len(region.domain)):
            if groups and axis != row_axes and all(_adjacent(order, axis - 1, axis) for order in orders):
                groups[-1].append(axis)
            else:
                groups.append([axis])
        merged = tuple(tuple(group) for group in groups)
        literals = tuple(size.literal for size in region.domain)
        return Domain(groups=merged, row_count=sum(group[0] < row_axes for group in merged), literals=literals)

    def merged(self, order: Sequence[int]) -> tuple[int, ...]:
        """The merged axes among the axes of a load or store, outermost first."""
        starts = {group[0]: position for position, group in enumerate(self.groups)}
        return tuple(starts[axis] for axis in order if axis in starts)

    def literal(self, order: Sequence[int]) -> int:
        """The traced extent along the axes of a load or store together."""
        return prod(self.literals[axis] for position in self.merged(order) for axis in self.groups[position])

    def is_transposed(self, order: Sequence[int]) -> bool:
        """Whether a load or store has the domain's axes in another order than the domain."""
        axes = self.merged(order)
        return list(axes) != sorted(axes)

    def index(self, order: Sequence[int]) -> str:
        """Offset of the element at (`row`, `column`) in a buffer with these axes, as text; "0" for a single number."""
        axes = self.merged(order)
        terms = []
        for start, end in self._runs(axes):
            place = self._place(axes[start], axes[end])
            stride = self.extent(axes[end + 1 :])
            wide = ".to(tl.int64)" if place.lstrip("(").startswith(("column", "inner")) else ""
            terms.append(place if stride == "1" else f"{_closed(place)}{wide} * {_closed(stride)}")
        return " + ".join(terms) or "0"

    def extent(self, axes: tuple[int, ...]) -> str:
        """Product of the sizes of merged axes, as text; all column axes together are COLUMNS, all inner ones INNER."""
        rest = list(axes)
        texts = []
        for name, begin, end in self._sides():
            whole = range(begin, end)
            if name in ("column", "inner") and whole and all(axis in rest for axis in whole):
                rest = [axis for axis in rest if axis not in whole]
                texts.append("COLUMNS" if name == "column" else "INNER")
        self.sizes_used.update(rest)
        return " * ".join([f"A{axis}" for axis in rest] + texts) or "1"

    def _sides(self) -> tuple[tuple[str, int, int], ...]:
        """The variables that number the elements, each with the merged axes it counts along."""
        columns = ("column", self.row_count, len(self.groups))
        if self.inner_from is None:
            return (("row", 0, self.row_count), columns)
        return (("outer", 0, self.inner_from), ("inner", self.inner_from, self.row_count), columns)

    def _runs(self, axes: tuple[int, ...]) -> list[tuple[int, int]]:
        """Stretches of `axes` that ascend without a gap on one side of the domain, as (first, last) positions."""
        starts = {begin for _, begin, _ in self._sides()}
        runs: list[tuple[int, int]] = []
        for position, axis in enumerate(axes):
            follows = runs and axis == axes[position - 1] + 1 and axis not in starts
            if follows:
                runs[-1] = (runs[-1][0], position)
            else:
                runs.append((position, position))
        return runs

    def _place(self, first: int, last: int) -> str:
        """The position along merged axes `first` to `last` together, from the variable that counts along them."""
        text, begin, end = next(side for side in self._sides() if side[1] <= first < side[2])
        if last + 1 < end:
            text = f"{text} // {_closed(self.extent(tuple(range(last + 1, end))))}"
        if first > begin:
            text = f"{_closed(text)} % {_closed(self.extent(tuple(range(first, last + 1))))}"
        return text


def axis_orders(region: KernelRegion) -> list[tuple[int, ...]]:
    """The orders in which a region's buffers have its axes, as far as they may differ from the domain's."""
    loads = [run for load in region.loads() for run in load.runs()]
    return loads + [store.axes for store in region.stores if store.axes is not None]


def _adjacent(order: Sequence[int], left: int, right: int) -> bool:
    """Whether an order has neither axis, or both with `right` just inside `left`."""
    if left not in order or right not in order:
        return left not in order and right not in order
    return order.index(right) == order.index(left) + 1


def _closed(text: str) -> str:
    return f"({text})" if " " in text else text
