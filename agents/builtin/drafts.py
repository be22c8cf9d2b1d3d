"""The region under construction: takes one primitive operation after another until one does not fit.

`operations.py` calls it with primitives; `planner.py` opens it, and closes it into a `KernelRegion`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from everforge.agents.builtin.abilities import BASIC, Abilities
from everforge.agents.builtin.axes import (
    AxisTable,
    Group,
    Incompatible,
    Number,
    Pending,
    Resident,
    Source,
    Tensor,
    Unfusable,
)
from everforge.agents.builtin.plan import (
    POINTWISE_ARITY,
    ColumnCount,
    Constant,
    Load,
    Pointwise,
    Pooled,
    PoolOp,
    Position,
    Reduce,
    ReduceOp,
    Scan,
    ScanOp,
    Size,
    Value,
    Window,
)

_ONE = Size.constant(1)
_COUNTED_BY_FLOATS = 1 << 24  # above it a float32 skips numbers
Operand = Tensor | Number | Pending


@dataclass
class Draft:
    """An open region over the axes `order`; `column_axes` is set by its first reduction or scan."""

    table: AxisTable
    abilities: Abilities = BASIC
    order: list[int] = field(default_factory=list)
    column_axes: Group | None = None
    frame: tuple[Group, ...] = ()  # dimensions of the last tensor that spanned the domain
    values: list[Value] = field(default_factory=list)
    fuses: list[str] = field(default_factory=list)

    def copy(self) -> "Draft":
        """A snapshot to come back to when an operation turns out not to fit half-way."""
        return replace(self, order=list(self.order), values=list(self.values), fuses=list(self.fuses))

    def logical(self) -> Group:
        """The axes of the region in the order of the tensors' dimensions."""
        return self.table.expand(self.order)

    def domain(self) -> Group:
        """The axes of the region in the order it runs: those of the rows, then those of the columns."""
        logical, columns = self.logical(), set(self.columns() or ())
        rows = tuple(axis for axis in logical if axis not in columns)
        return rows + tuple(axis for axis in logical if axis in columns)

    def columns(self) -> Group | None:
        """The axes of a row's columns; None while nothing has been reduced."""
        return None if self.column_axes is None else self.table.expand(self.column_axes)

    def add(self, value: Value) -> int:
        """The number of a value, which is appended unless it is there already."""
        if value in self.values:
            return self.values.index(value)
        self.values.append(value)
        return len(self.values) - 1

    def pointwise(self, op: str, *operands: Operand) -> Resident:
        """`op` applied to operands broadcast against each other. Raises Incompatible where they do not fit."""
        if POINTWISE_ARITY[op] != len(operands):
            raise Unfusable(f"{op} takes {POINTWISE_ARITY[op]} operands")
        tensors = [operand for operand in operands if isinstance(operand, Source | Resident)]
        shape, dims = self.align(tensors)
        args = []
        for operand in operands:
            if isinstance(operand, Pending):
                raise Unfusable("computes with a rearranged tensor")
            if isinstance(operand, Number):
                args.append(self.add(Constant(operand.number)))
            else:
                args.append(self._value(operand, dims))
        return Resident(self.add(Pointwise(op, tuple(args))), shape, dims)

    def resident(self, tensor: Tensor) -> Resident:
        """The tensor inside the region, loaded if it is not there yet."""
        if isinstance(tensor, Resident):
            return tensor
        shape, dims = self.align([tensor])
        return Resident(self._value(tensor, dims), shape, dims)

    def beside(self, part: Source, image: Tensor) -> Resident:
        """A smaller tensor loaded as the image would broadcast it, so that it can be computed with by itself."""
        _, dims = self.align([self.resident(image), part])
        seen = tuple(group if own else () for group, own in zip(dims[-len(part.dims) :], part.dims, strict=True))
        return Resident(self._value(part, dims), part.shape, seen)

    def reduce(self, op: ReduceOp, tensor: Tensor, over: Sequence[int], keeps: bool) -> Resident:
        """Fold the dimensions `over`. Raises Incompatible unless they are all the columns of a row."""
        inside = self.resident(tensor)
        axes = tuple(axis for i in over for axis in self.table.expand(inside.dims[i]))
        if any(not inside.dims[i] and inside.shape[i].literal != 1 for i in over):
            raise Unfusable("reduces an expanded dimension")
        value = self.add(Reduce(op, inside.value)) if self._fix_columns(inside, axes) else inside.value
        left = [i for i in range(len(inside.shape)) if keeps or i not in over]
        shape = tuple(_ONE if i in over else inside.shape[i] for i in left)
        return Resident(value, shape, tuple(() if i in over else inside.dims[i] for i in left))

    def column_count(self, tensor: Tensor, over: Sequence[int]) -> Operand:
        """How many elements the dimensions `over` of a tensor span, which must be just reduced or of extent 1."""
        if not any(tensor.dims[i] for i in over):
            return Number(1.0)
        return Resident(self.add(ColumnCount()), (), ())

    def locate(self, op: ReduceOp, tensor: Tensor, over: Sequence[int], keeps: bool) -> Resident:
        """The position of an extremum over the dimensions `over`, counted in their order."""
        if not self.abilities.positions:
            raise Unfusable("asks for the position of the extremum")
        inside = self.resident(tensor)
        axes = tuple(axis for i in over for axis in self.table.expand(inside.dims[i]))
        if not axes:
            raise Unfusable("looks for the extremum of single elements")
        self._require_logical(axes)
        return self.reduce(op, inside, over, keeps)

    def position(self, tensor: Tensor, dim: int) -> Resident:
        """The place of each element along one dimension, which must be all the columns of a row."""
        inside = self.resident(tensor)
        axes = self.table.expand(inside.dims[dim])
        self._require_logical(axes)
        if not self._fix_columns(inside, axes) or self.table.extent(axes) > _COUNTED_BY_FLOATS:
            raise Unfusable("counts more columns than a float can, or none")
        alone = [i == dim for i in range(len(inside.shape))]
        shape = tuple(size if is_it else _ONE for size, is_it in zip(inside.shape, alone, strict=True))
        dims = tuple(group if is_it else () for group, is_it in zip(inside.dims, alone, strict=True))
        return Resident(self.add(Position()), shape, dims)

    def pool(self, op: PoolOp, image: Source, windows: Sequence[Window], places: Sequence[int]) -> Resident:
        """A fold under a window at each of `places` along the image's last dimensions.

        Raises Incompatible where the region runs in another order than the image lies in memory.
        """
        count = len(windows)
        lead = tuple(self.table.expand(group) for group in image.dims[: len(image.dims) - count])
        new = tuple(self.table.new(Size.constant(number)) for number in places)
        shape = (*image.shape[: len(lead)], *(self.table.sizes[axis] for axis in new))
        memory = (*(axis for group in lead for axis in group), *new)
        seen = Source(image.buffer, shape, (*lead, *((axis,) for axis in new)), memory)
        _, dims = self.align([seen])
        axes = self._loaded(seen, dims).axes
        if tuple(axis for axis in self.logical() if axis in axes) != self.table.expand(axes):
            raise Incompatible("pools an image across the order of the region")
        if not set(self._wide(self.domain())) <= set(axes):
            raise Incompatible("pools to fewer places than the region has")  # alone it can be stored
        groups = [self.table.expand(group) for group in dims[len(dims) - count :]]
        laid = tuple(replace(window, axes=group) for window, group in zip(windows, groups, strict=True))
        return Resident(self.add(Pooled(image.buffer, axes, op, laid)), shape, dims)

    def scan(self, op: ScanOp, tensor: Tensor, dim: int, is_reverse: bool = False) -> Resident:
        """Running fold along one dimension, which must be all the columns of a row."""
        inside = self.resident(tensor)
        axes = self.table.expand(inside.dims[dim])
        self._require_logical(axes)
        if any(isinstance(value, Scan) and value.is_reverse != is_reverse for value in self.values):
            raise Incompatible("runs along a row against another running fold")
        value = self.add(Scan(op, inside.value, is_reverse)) if self._fix_columns(inside, axes) else inside.value
        return Resident(value, inside.shape, inside.dims)

    def _require_logical(self, axes: Group) -> None:
        """Columns are counted in the order of the region's dimensions; other orders need another region."""
        if tuple(axis for axis in self.logical() if axis in axes) != axes:
            raise Incompatible("counts along dimensions in another order than the region's")

    def _fix_columns(self, inside: Resident, axes: Group) -> bool:
        """Make `axes` the columns; False where there is nothing to fold. They must be innermost, unless any may be."""
        if not axes:
            return False
        domain, held = self.domain(), {a for group in inside.dims for a in self.table.expand(group)}
        wide = {axis for axis in domain if self.table.literal(axis) != 1}
        if self.columns() is not None and set(self.columns() or ()) != set(axes):
            raise Incompatible("reduces other dimensions than the region before it")
        if not self.abilities.any_order and set(domain[len(domain) - len(axes) :]) != set(axes):
            raise Incompatible("reduces a dimension that is not the innermost one")
        if not wide <= held:
            raise Incompatible("reduces a tensor that is broadcast over the rows")
        self.column_axes = axes
        return True

    def align(self, tensors: Sequence[Tensor]) -> tuple[tuple[Size, ...], tuple[Group, ...]]:
        """Shape and axes of the tensors broadcast against each other; grows the domain of an empty draft."""
        shape, dims = self._aligned(tensors)
        if len(self.table.expand(axis for group in dims for axis in group)) == len(self.domain()):
            self.frame = dims
        return shape, dims

    def _aligned(self, tensors: Sequence[Tensor]) -> tuple[tuple[Size, ...], tuple[Group, ...]]:
        rank = max((len(tensor.shape) for tensor in tensors), default=0)
        shape = tuple(self._extent(tensors, rank, i) for i in range(rank))
        known = [self._resident_group(tensors, rank, i) for i in range(rank)]
        if not self.order:
            groups = [known[i] or self._adopted(tensors, rank, i, shape[i]) for i in range(rank)]
            self.order.extend(axis for group in groups for axis in group)
            return shape, tuple(groups)
        framed = None if any(known) else self._framed(shape)
        return shape, framed or self._fitted(shape, known, tensors)

    def _extent(self, tensors: Sequence[Tensor], rank: int, i: int) -> Size:
        extents = [t.shape[i - rank + len(t.shape)] for t in tensors if i - rank + len(t.shape) >= 0]
        return next((extent for extent in extents if extent.literal != 1), extents[0])

    def _resident_group(self, tensors: Sequence[Tensor], rank: int, i: int) -> Group:
        """The axes along dimension i that the residents agree on; () where none of them has any."""
        agreed: Group = ()
        for tensor in tensors:
            at = i - rank + len(tensor.shape)
            if isinstance(tensor, Source) or at < 0 or not tensor.dims[at]:
                continue
            group = self.table.expand(tensor.dims[at])
            if agreed and group != agreed:
                raise Incompatible("combines different dimensions of the region")
            agreed = group
        return agreed

    def _adopted(self, tensors: Sequence[Tensor], rank: int, i: int, extent: Size) -> Group:
        """Axes for dimension i of an empty domain: those of the first source that is not broadcast along it."""
        for tensor in tensors:
            at = i - rank + len(tensor.shape)
            if at >= 0 and tensor.dims[at] and tensor.shape[at].literal == extent.literal:
                return self._unused(self.table.expand(tensor.dims[at]))
        return (self.table.new(extent),) if extent.literal != 1 else ()

    def _unused(self, group: Group) -> Group:
        """The group itself; where an axis is in the domain already (x + x.T), a twin of it."""
        taken = set(self.domain())
        return tuple(self.table.new(self.table.sizes[axis]) if axis in taken else axis for axis in group)

    def _framed(self, shape: Sequence[Size]) -> tuple[Group, ...] | None:
        """Axes as if the shape were broadcast to the frame's; None where it could not be."""
        if len(shape) > len(self.frame):
            return None
        groups = [self.table.expand(group) for group in self.frame[len(self.frame) - len(shape) :]]
        fits = [
            group if self.table.extent(group) == extent.literal else () if extent.literal == 1 else None
            for group, extent in zip(groups, shape, strict=True)
        ]
        found = tuple(group for group in fits if group is not None)
        return found if len(found) == len(fits) else None

    def _fitted(self, shape: Sequence[Size], known: Sequence[Group], tensors: Sequence[Tensor]) -> tuple[Group, ...]:
        """Axes of the domain for every dimension, in order; those not known are taken by their extent."""
        groups: list[Group] = []
        free = list(self.logical())
        for i, extent in enumerate(shape):
            if known[i]:
                group = known[i]
                free = free[free.index(group[-1]) + 1 :] if group[-1] in free else free
            elif extent.literal == 1 and not self._has_axes(tensors, len(shape), i):
                group = ()
            else:
                group, free = self._claimed(free, extent.literal, set().union(*known[i + 1 :], set()))
            groups.append(group)
        return tuple(groups)

    def _has_axes(self, tensors: Sequence[Tensor], rank: int, i: int) -> bool:
        return any(t.dims[i - rank + len(t.shape)] for t in tensors if i - rank + len(t.shape) >= 0)

    def _claimed(self, free: list[int], literal: int, reserved: set[int]) -> tuple[Group, list[int]]:
        """Consecutive free axes whose extents multiply to `literal`, splitting the last where that is exact."""
        if literal == 1:
            return ((free[0],), free[1:]) if free and self.table.literal(free[0]) == 1 else ((), free)
        claimed: list[int] = []
        while self.table.extent(claimed) < literal:
            if not free or free[0] in reserved:
                raise Incompatible("has a dimension the region lacks")
            claimed.append(free.pop(0))
        if self.table.extent(claimed) != literal:
            raise Incompatible("has a dimension the region lacks")
        return tuple(claimed), free

    def _value(self, tensor: Tensor, dims: Sequence[Group]) -> int:
        """The number of the tensor's value, loading a source along the domain axes `dims`."""
        return tensor.value if isinstance(tensor, Resident) else self.add(self._loaded(tensor, dims))

    def _loaded(self, tensor: Source, dims: Sequence[Group]) -> Load:
        """A read of a source along the domain axes `dims`."""
        bound: dict[int, int | None] = {}
        for i, group in enumerate(tensor.dims):
            self._bind(list(self.table.expand(group)), list(dims[len(dims) - len(tensor.dims) + i]), bound)
        memory = self.table.expand(tensor.memory)
        axes = [bound[axis] for axis in memory if bound.get(axis) is not None]
        if any(axis not in bound and self.table.literal(axis) != 1 for axis in memory):
            raise Unfusable("reads part of a tensor")
        return Load(tensor.buffer, tuple(axis for axis in axes if axis is not None))

    def _bind(self, source: list[int], wanted: list[int], bound: dict[int, int | None]) -> None:
        """Pair a source's axes with the domain's along one dimension, splitting whichever is coarser."""
        wanted = list(self.table.expand(wanted))
        while source:
            axis = source.pop(0)
            have = self.table.literal(axis)
            if have == 1 and (not wanted or self.table.literal(wanted[0]) != 1):
                bound[axis] = None
                continue
            if not wanted:
                raise Incompatible("has a dimension the region lacks")
            want = self.table.literal(wanted[0])
            if have == want:
                bound[axis] = wanted.pop(0)
            elif have > want and have % want == 0:
                source = [*self.table.lead(axis, self.table.sizes[wanted[0]]), *source]
            elif want > have and want % have == 0:
                wanted = [*self.table.lead(wanted[0], self.table.sizes[axis]), *wanted[1:]]
            else:
                raise Incompatible("has a dimension the region lacks")

    def is_per_row(self, tensor: Resident) -> bool:
        """Whether a tensor has one element for each row of a region that reduces."""
        columns = self.columns()
        if columns is None:
            return False
        return not {a for group in tensor.dims for a in self.table.expand(group)} & set(columns)

    def storable(self, tensor: Resident) -> bool:
        """Whether a tensor is the whole domain or all rows, and lies in an order that kernels can store."""
        flat, wanted = self._flat(tensor), self._stored_domain(tensor)
        if not all(group or size.literal == 1 for group, size in zip(tensor.dims, tensor.shape, strict=True)):
            return False
        is_whole = sorted(self._wide(flat)) == sorted(self._wide(wanted))
        return is_whole and (self.abilities.any_order or self._wide(flat) == self._wide(wanted))

    def stored_axes(self, tensor: Resident) -> Group | None:
        """The axes of a storable tensor, outermost first; None where they are in the domain's order."""
        flat, wanted = self._flat(tensor), self._stored_domain(tensor)
        if self._wide(flat) == self._wide(wanted):
            return None
        own = tuple(axis for axis in flat if axis in wanted)
        return tuple(axis for axis in wanted if axis not in own) + own

    def _flat(self, tensor: Resident) -> list[int]:
        return [axis for group in tensor.dims for axis in self.table.expand(group)]

    def _stored_domain(self, tensor: Resident) -> Group:
        """The axes that a store of the tensor covers."""
        domain, columns = self.domain(), self.columns() or ()
        return domain[: len(domain) - len(columns)] if self.is_per_row(tensor) else domain

    def _wide(self, axes: Sequence[int]) -> list[int]:
        return [axis for axis in axes if self.table.literal(axis) != 1]
