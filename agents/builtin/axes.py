"""Axes and symbolic tensors: how the dimensions of the reference's tensors map onto a region's loops.

`drafts.py` and `planner.py` use it. An axis is a number in an `AxisTable`; a view that splits a dimension splits
its axis for everyone who holds it, so that group norm's channels and its groups end up in one domain.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import gcd, prod
from typing import TypeVar

from everforge.agents.builtin.plan import Size

Group = tuple[int, ...]  # the axes one dimension is made of, outermost first; () is broadcast along it


class Unfusable(Exception):  # a decision, not an error: the step is left to PyTorch
    """No kernel of ours can hold this operation; the text says why."""


class Incompatible(Exception):  # a decision: the open region ends here
    """The operation does not fit the open region; a fresh one may take it."""


def multiplied(sizes: Iterable[Size]) -> Size:
    """The product of extents, as an extent."""
    parts = tuple(sizes)
    times, over = prod(part.times for part in parts), prod(part.over for part in parts)
    shared = gcd(times, over)
    return Size(
        literal=prod(part.literal for part in parts),
        factors=tuple(factor for part in parts for factor in part.factors),
        times=times // shared,
        over=over // shared,
    )


def divided(size: Size, divisor: int) -> Size:
    """An extent over a constant that divides it."""
    if not size.factors:
        return Size.constant(size.literal // divisor)
    return Size(size.literal // divisor, size.factors, size.times, size.over * divisor)


@dataclass
class AxisTable:
    """All axes of a plan: their extents, and into which others an axis was split."""

    sizes: list[Size] = field(default_factory=list)
    parts: dict[int, Group] = field(default_factory=dict)

    def new(self, size: Size) -> int:
        """A fresh axis."""
        self.sizes.append(size)
        return len(self.sizes) - 1

    def literal(self, axis: int) -> int:
        """The extent an axis had when traced."""
        return self.sizes[axis].literal

    def extent(self, axes: Iterable[int]) -> int:
        """The product of the traced extents."""
        return prod(self.literal(axis) for axis in axes)

    def expand(self, axes: Iterable[int]) -> Group:
        """The axes with every split one replaced by its parts."""
        result: list[int] = []
        for axis in axes:
            result.extend(self.expand(self.parts[axis]) if axis in self.parts else (axis,))
        return tuple(result)

    def split(self, axis: int, sizes: Sequence[Size]) -> Group:
        """Split an axis into these extents, outermost first."""
        self.parts[axis] = tuple(self.new(size) for size in sizes)
        return self.parts[axis]

    def split_at(self, axis: int, inner: int) -> Group:
        """Split an axis into (rest, `inner`)."""
        size = self.sizes[axis]
        return self.split(axis, (divided(size, inner), Size.constant(inner)))

    def lead(self, axis: int, outer: Size) -> Group:
        """Split an axis into (`outer`, rest), the rest following from the axis's extent at run time."""
        return self.split(axis, (outer, divided(self.sizes[axis], outer.literal)))


@dataclass(frozen=True)
class Source:
    """A tensor in memory: a contiguous buffer whose axes are `memory`, seen with these dimensions."""

    buffer: str
    shape: tuple[Size, ...]
    dims: tuple[Group, ...]
    memory: Group


@dataclass(frozen=True)
class Resident:
    """A tensor inside the open region: value number `value`, with these dimensions."""

    value: int
    shape: tuple[Size, ...]
    dims: tuple[Group, ...]


@dataclass(frozen=True)
class Number:
    """A tensor of one known number."""

    number: float


@dataclass(frozen=True)
class Pending:
    """A tensor rearranged along dimension `dim`, begun by the operation `node`; see `pending.py`."""

    tensor: "Tensor"
    dim: int
    node: str


@dataclass(frozen=True)
class Mirrored(Pending):
    """Reversed."""


@dataclass(frozen=True)
class Trimmed(Pending):
    """Without its last element."""


@dataclass(frozen=True)
class Delayed(Pending):
    """One zero in front, and without its last element."""


Tensor = Source | Resident
AnyTensor = TypeVar("AnyTensor", Source, Resident, Tensor)


def redimensioned(tensor: AnyTensor, shape: Sequence[Size], dims: Sequence[Group]) -> AnyTensor:
    """The same elements under other dimensions."""
    return replace(tensor, shape=tuple(shape), dims=tuple(dims))


def permuted(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Dimensions in another order."""
    return redimensioned(tensor, [tensor.shape[i] for i in order], [tensor.dims[i] for i in order])


def unsqueezed(tensor: AnyTensor, dim: int) -> AnyTensor:
    """A new dimension of extent 1 before `dim`."""
    shape, dims = list(tensor.shape), list(tensor.dims)
    shape.insert(dim, Size.constant(1))
    dims.insert(dim, ())
    return redimensioned(tensor, shape, dims)


def squeezed(tensor: Tensor, removed: Sequence[int]) -> Tensor:
    """Without those of the dimensions `removed` whose extent is 1."""
    kept = [i for i in range(len(tensor.shape)) if i not in removed or tensor.shape[i].literal != 1]
    return permuted(tensor, kept)


def expanded(tensor: Tensor, literals: Sequence[int]) -> Tensor:
    """Broadcast to `literals` (-1 keeps an extent); new dimensions come first."""
    for _ in range(len(literals) - len(tensor.shape)):
        tensor = unsqueezed(tensor, 0)
    shape, dims = list(tensor.shape), list(tensor.dims)
    for i, literal in enumerate(literals):
        if literal not in (-1, shape[i].literal):
            shape[i], dims[i] = Size.constant(literal), ()
    return redimensioned(tensor, shape, dims)


def reshaped(table: AxisTable, tensor: Tensor, literals: Sequence[int]) -> Tensor:
    """Reshape to `literals`, none of them -1; splits axes where a dimension is split.

    Raises Unfusable where a broadcast dimension would have to be merged or an axis does not divide.
    """
    for extent, group in zip(tensor.shape, tensor.dims, strict=True):
        if not group and extent.literal != 1:
            raise Unfusable("reshapes an expanded tensor")
    waiting = [axis for group in tensor.dims for axis in table.expand(group)]
    dims: list[Group] = []
    for position, literal in enumerate(literals):
        group, waiting = _taken(table, waiting, literal, leading=position == 0)
        dims.append(group)
    if any(table.literal(axis) != 1 for axis in waiting):
        raise Unfusable("reshapes across dimensions")
    shape = [multiplied(table.sizes[a] for a in group) if group else Size.constant(1) for group in dims]
    return redimensioned(tensor, shape, dims)


def _taken(table: AxisTable, waiting: list[int], literal: int, leading: bool) -> tuple[Group, list[int]]:
    """The first axes of `waiting` whose extents multiply to `literal`, and what is left.

    Where one axis becomes several dimensions, a leading one (the batch) takes up a change of shape; elsewhere
    (channels into groups) the innermost does.
    """
    taken: list[int] = []
    reached = 1
    while reached < literal:
        if not waiting:
            raise Unfusable("reshapes to more elements than there are")
        axis, *waiting = waiting
        extent, wanted = table.literal(axis), literal // reached
        if literal % reached or (extent > wanted and extent % wanted):
            raise Unfusable("reshapes across dimensions")
        if extent > wanted:
            if leading:
                axis, rest = table.split_at(axis, extent // wanted)
            else:
                axis, rest = table.lead(axis, Size.constant(wanted))
            waiting = [rest, *waiting]
        taken.append(axis)
        reached *= table.literal(axis)
    if reached != literal:
        raise Unfusable("reshapes across dimensions")
    if literal == 1 and waiting and table.literal(waiting[0]) == 1:
        return (waiting[0],), waiting[1:]
    return tuple(taken), waiting
