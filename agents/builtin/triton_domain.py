"""Where an element of a region lies in a buffer: merges a region's axes and writes the index expressions.

The emitters of rows, pointwise chains and matmul epilogues use it. Neighbouring axes that every load treats as one
are merged, so most regions end with one row axis and one column axis and need no division.
"""

from dataclasses import dataclass, field

from everforge.agents.builtin.plan import KernelRegion, Load


@dataclass
class Domain:
    """The merged axes of a region: groups of original axes, the first `row_count` of them numbering rows.

    Index texts call the row number `row` and the column number `column`; sizes that a text needs are collected in
    `sizes_used` as positions of merged axes, and become compile-time arguments `A<position>` of the kernel.
    """

    groups: tuple[tuple[int, ...], ...]
    row_count: int
    sizes_used: set[int] = field(default_factory=set)

    @staticmethod
    def of(region: KernelRegion, row_axes: int) -> "Domain":
        """Merge the axes of `region`, its first `row_axes` apart from the others."""
        loads = list(region.loads())
        groups: list[list[int]] = []
        for axis in range(len(region.domain)):
            if groups and axis != row_axes and all(_adjacent(load, axis - 1, axis) for load in loads):
                groups[-1].append(axis)
            else:
                groups.append([axis])
        merged = tuple(tuple(group) for group in groups)
        return Domain(groups=merged, row_count=sum(group[0] < row_axes for group in merged))

    def merged(self, load: Load) -> tuple[int, ...]:
        """The merged axes a load has, outermost first."""
        starts = {group[0]: position for position, group in enumerate(self.groups)}
        return tuple(starts[axis] for axis in load.axes if axis in starts)

    def is_contiguous(self, load: Load) -> bool:
        """Whether the load is the whole domain in its own order."""
        return self.merged(load) == tuple(range(len(self.groups)))

    def is_transposed(self, load: Load) -> bool:
        """Whether the load has the domain's axes in another order than the domain."""
        axes = self.merged(load)
        return list(axes) != sorted(axes)

    def index(self, load: Load) -> str:
        """Offset of the element at (`row`, `column`) in the loaded buffer, as text; "0" for a single number."""
        axes = self.merged(load)
        terms = []
        for start, end in self._runs(axes):
            place = self._place(axes[start], axes[end])
            stride = self.extent(axes[end + 1 :])
            wide = ".to(tl.int64)" if place.startswith("column") or "(column" in place else ""
            terms.append(place if stride == "1" else f"{_closed(place)}{wide} * {_closed(stride)}")
        return " + ".join(terms) or "0"

    def extent(self, axes: tuple[int, ...]) -> str:
        """Product of the sizes of merged axes, as text; all column axes together are COLUMNS."""
        columns = tuple(range(self.row_count, len(self.groups)))
        rest = list(axes)
        texts = []
        if columns and all(axis in rest for axis in columns):
            rest = [axis for axis in rest if axis not in columns]
            texts.append("COLUMNS")
        self.sizes_used.update(rest)
        return " * ".join([f"A{axis}" for axis in rest] + texts) or "1"

    def _runs(self, axes: tuple[int, ...]) -> list[tuple[int, int]]:
        """Stretches of `axes` that ascend without a gap on one side of the domain, as (first, last) positions."""
        runs: list[tuple[int, int]] = []
        for position, axis in enumerate(axes):
            follows = runs and axis == axes[position - 1] + 1 and axis != self.row_count
            if follows:
                runs[-1] = (runs[-1][0], position)
            else:
                runs.append((position, position))
        return runs

    def _place(self, first: int, last: int) -> str:
        """The position along merged axes `first` to `last` together, from the row or column number."""
        in_rows = last < self.row_count
        begin, end = (0, self.row_count) if in_rows else (self.row_count, len(self.groups))
        text = "row" if in_rows else "column"
        if last + 1 < end:
            text = f"{text} // {_closed(self.extent(tuple(range(last + 1, end))))}"
        if first > begin:
            text = f"{_closed(text)} % {_closed(self.extent(tuple(range(first, last + 1))))}"
        return text


def _adjacent(load: Load, left: int, right: int) -> bool:
    """Whether the load has neither axis, or both with `right` just inside `left`."""
    if left not in load.axes or right not in load.axes:
        return left not in load.axes and right not in load.axes
    return load.axes.index(right) == load.axes.index(left) + 1


def _closed(text: str) -> str:
    return f"({text})" if " " in text else text
