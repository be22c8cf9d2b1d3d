"""How the operands of a product lie in memory; `planner.py` asks before it makes a `MatmulRegion`.

Most lie as a kernel reads them, or transposed. Others, as einsum and attention leave them (heads before tokens), are
read through strides: rows, columns and a batch of at most two levels each lie evenly spaced in memory. Nothing is
copied. What cannot be read so is left to PyTorch.
"""

from dataclasses import dataclass

from everforge.agents.builtin.axes import AxisTable, Group, Source, Unfusable, multiplied
from everforge.agents.builtin.matmuls import Product
from everforge.agents.builtin.plan import Layout, Size

Pair = tuple[int | None, int | None]  # an axis of a batch in lhs and in rhs; None where one is broadcast along it

BATCH_LEVELS = 2


@dataclass(frozen=True)
class Placement:
    """The parts of a `MatmulRegion` that say how its operands lie."""

    batched: bool
    lhs_transposed: bool = False
    rhs_transposed: bool = False
    layouts: tuple[Layout, Layout] | None = None


def placement(table: AxisTable, product: Product) -> Placement:
    """How a product's operands lie. Raises Unfusable where strides cannot say it."""
    lhs, rhs = (_turned(table, operand, product.batched) for operand in (product.lhs, product.rhs))
    if lhs is None or rhs is None or not _is_plain(product):
        return Placement(batched=True, layouts=_split_sides(table, product).layouts(table))
    if lhs and not product.batched and len(product.lhs.shape) > 2:  # no single matrix
        return Placement(batched=True, layouts=_split_sides(table, product).layouts(table))
    return Placement(product.batched, lhs, rhs)


def _is_plain(product: Product) -> bool:
    """Whether it is one product of matrices, or a batch of one level that both operands have."""
    if not product.batched:
        return True
    first, second = ([size.literal for size in operand.shape[:-2]] for operand in (product.lhs, product.rhs))
    return len(first) == 1 and first == second


def _turned(table: AxisTable, operand: Source, batched: bool) -> bool | None:
    """Whether an operand lies transposed in memory; None where it lies neither straight nor so."""
    memory = table.expand(operand.memory)
    groups = [table.expand(group) for group in operand.dims]
    if any(not group and size.literal != 1 for group, size in zip(groups, operand.shape, strict=True)):
        return None
    if _joined(groups) == memory:
        return False
    lead = groups[:-2] if batched or len(groups) > 2 else []
    return True if _joined([*lead, groups[-1], groups[-2]]) == memory else None


def _joined(groups: list[Group]) -> Group:
    return tuple(axis for group in groups for axis in group)


@dataclass(frozen=True)
class _Sides:
    """The axes of a product: its batch in pairs, and of each operand those of rows and of columns."""

    operands: tuple[Source, Source]
    batch: tuple[Pair, ...]
    rows: tuple[Group, Group]
    columns: tuple[Group, Group]

    def layouts(self, table: AxisTable) -> tuple[Layout, Layout]:
        """The operands with four dimensions. Raises Unfusable."""
        levels = self._levels(table)
        if len(levels) > BATCH_LEVELS:
            raise Unfusable("multiplies matrices that lie apart in memory along too many dimensions")
        return (self._layout(table, 0, levels), self._layout(table, 1, levels))

    def _levels(self, table: AxisTable) -> list[list[Pair]]:
        """The batch with neighbours merged that lie next to each other in both operands."""
        levels: list[list[Pair]] = []
        for pair in self.batch:
            if levels and all(self._follows(table, side, levels[-1][-1][side], pair[side]) for side in (0, 1)):
                levels[-1].append(pair)
            else:
                levels.append([pair])
        return levels

    def _follows(self, table: AxisTable, side: int, before: int | None, after: int | None) -> bool:
        if before is None or after is None:
            return before is after
        memory = table.expand(self.operands[side].memory)
        return memory.index(after) == memory.index(before) + 1

    def _layout(self, table: AxisTable, side: int, levels: list[list[Pair]]) -> Layout:
        operand = self.operands[side]
        for dimension in (-2, -1):
            if not operand.dims[dimension] and operand.shape[dimension].literal != 1:
                raise Unfusable("multiplies an expanded tensor")
        groups: list[Group] = [tuple(axis for pair in level if (axis := pair[side]) is not None) for level in levels]
        groups = [()] * (BATCH_LEVELS - len(groups)) + groups + [self.rows[side], self.columns[side]]
        memory = [axis for axis in table.expand(operand.memory) if table.literal(axis) != 1 or _within(axis, groups)]
        runs = sorted((group for group in groups if group), key=lambda group: memory.index(group[0]))
        if _joined(runs) != tuple(memory):
            raise Unfusable("multiplies a tensor whose rows or columns lie apart in memory")
        shape = tuple(multiplied(table.sizes[axis] for axis in run) for run in runs)
        return Layout(shape, tuple(runs.index(group) if group else None for group in groups))


def _within(axis: int, groups: list[Group]) -> bool:
    return any(axis in group for group in groups)


def _split_sides(table: AxisTable, product: Product) -> _Sides:
    """The axes of both operands, paired along the batch and split alike. Raises Unfusable where they cannot be."""
    lhs, rhs = product.lhs, product.rhs
    batch: list[Pair] = []
    if product.batched:
        for i in range(len(lhs.shape) - 2):
            batch += _paired(table, lhs.dims[i], rhs.dims[i], (lhs.shape[i], rhs.shape[i]))
        rows = table.expand(lhs.dims[-2])
    else:
        rows = _joined([table.expand(group) for group in lhs.dims[:-1]])
        apart = _run_length(table, lhs, rows)
        # Rows that lie apart are a batch of matrices, each multiplied by the same one.
        batch, rows = [(axis, None) for axis in rows[:-apart]], rows[-apart:]
    columns = (table.expand(lhs.dims[-1]), table.expand(rhs.dims[-1]))
    return _Sides((lhs, rhs), tuple(batch), (rows, table.expand(rhs.dims[-2])), columns)


def _run_length(table: AxisTable, operand: Source, axes: Group) -> int:
    """How many of the last axes lie next to each other in memory."""
    memory, length = table.expand(operand.memory), 1
    while length < len(axes) and memory.index(axes[-length]) == memory.index(axes[-length - 1]) + 1:
        length += 1
    return length


def _paired(table: AxisTable, left: Group, right: Group, extents: tuple[Size, Size]) -> list[Pair]:
    """The axes of one dimension of the batch, side by side; the coarser side is split. Raises Unfusable."""
    first, second = list(table.expand(left)), list(table.expand(right))
    if extents[0].literal != extents[1].literal:  # one of them is 1, and is broadcast
        return [(None, axis) for axis in second] if extents[0].literal == 1 else [(axis, None) for axis in first]
    if not first or not second:
        return [(axis, None) for axis in first] + [(None, axis) for axis in second]
    pairs: list[Pair] = []
    while first and second:
        have, want = table.literal(first[0]), table.literal(second[0])
        if have > want and have % want == 0:
            first = [*table.lead(first[0], table.sizes[second[0]]), *first[1:]]
        elif want > have and want % have == 0:
            second = [*table.lead(second[0], table.sizes[first[0]]), *second[1:]]
        if table.literal(first[0]) != table.literal(second[0]):
            raise Unfusable("multiplies batches that are divided differently")
        pairs.append((first.pop(0), second.pop(0)))
    return pairs + [(axis, None) for axis in first] + [(None, axis) for axis in second]
