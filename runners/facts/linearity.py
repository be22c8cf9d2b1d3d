"""What becomes of a product on its way through linear operations: which of its rows and columns are summed away.

`sum_j (x · w_j + b_j) / c` is `(x · sum_j w_j + sum_j b_j) / c`: a product that is only summed over its columns
needs no columns. The dimensions of every tensor on the way are tracked as factors of the product's own, so that
views, transposes and sums over parts are followed exactly. Used by `algebra.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import Any

from everforge.model.graph import GraphNode
from everforge.runners.facts.dataflow import Flow, argument, is_convolution, operands, short_name
from everforge.runners.facts.operations import PRODUCTS
from everforge.runners.facts.windows import pool_window


class Kind(StrEnum):
    """What a dimension of a product's result counts."""

    BATCH = "batch"
    ROW = "row"
    COLUMN = "column"
    PLACE = "place"
    OTHER = "other"


@dataclass(frozen=True)
class Factor:
    """A part of a dimension: how many of which kind."""

    kind: Kind
    size: int


Dims = tuple[tuple[Factor, ...], ...]

_KEEPING = ("neg", "clone", "_to_copy", "to", "contiguous", "alias", "detach")
_RESHAPING = ("view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "_unsafe_view")
_AVERAGING = (
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
)


@dataclass
class Journey:
    """Where the values of one product end up: what is left of it there, and what joined it on the way."""

    ends: list[tuple[GraphNode | None, str, Dims]] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)

    def left(self, kind: Kind) -> int:
        """Most of one kind of dimension that any end still tells apart."""
        return max((prod(f.size for dim in dims for f in dim if f.kind is kind) for _, _, dims in self.ends), default=0)


def dims_of(node: GraphNode, flow: Flow) -> Dims | None:
    """The dimensions of a product's result by what they count; None for one that is not followed."""
    meta, shapes = flow.meta(node.id), flow.shapes(node)
    if meta is None or len(shapes) < 2:
        return None
    kinds = _kinds_of(node, len(meta.shape), shapes)
    return tuple((Factor(kind, size),) for kind, size in zip(kinds, meta.shape, strict=True)) if kinds else None


def _kinds_of(node: GraphNode, count: int, shapes: list[tuple[int, ...]]) -> list[Kind]:
    """What each dimension of a product's result counts; empty where it is not known."""
    name, left, right = short_name(node), len(shapes[0]), len(shapes[1])
    if is_convolution(node):
        return [Kind.BATCH, Kind.COLUMN, *[Kind.PLACE] * (count - 2)] if count == right else []
    if name == "einsum":
        return _kinds_of_einsum(str(argument(node, 0, "equation")), count)
    if name == "mv" or (name == "matmul" and right == 1 and left > 1):
        return [Kind.ROW] * count
    if name in ("linear", "mm", "addmm") or (name == "matmul" and right == 2 and left > 1):
        return [*[Kind.ROW] * (count - 1), Kind.COLUMN]
    if name in ("bmm", "baddbmm") or (name == "matmul" and left > 1):
        return [*[Kind.BATCH] * (count - 2), Kind.ROW, Kind.COLUMN]
    return []


def _kinds_of_einsum(equation: str, count: int) -> list[Kind]:
    """Indices of both operands, of the first alone and of the second alone, for two operands without an ellipsis."""
    terms, _, result = equation.replace(" ", "").partition("->")
    operands_of = terms.split(",")
    if len(operands_of) != 2 or len(result) != count or not result.isalpha():
        return []
    first, second = operands_of
    return [Kind.BATCH if i in first and i in second else Kind.ROW if i in first else Kind.COLUMN for i in result]


def journey_of(node: GraphNode, flow: Flow, results: frozenset[str]) -> Journey | None:
    """Follow a product's result to where it is first used in a way that is not linear. None if not followed."""
    first = dims_of(node, flow)
    if first is None:
        return None
    journey, carried = Journey(), {node.id: first}
    reached = frozenset(_descendants(node.id, flow))
    for name in (each for each in flow.nodes if each in reached):
        if name not in carried:
            continue
        if name in results:
            journey.ends.append((None, name, carried[name]))
        for reader in flow.readers[name]:
            step = _step(reader, name, carried, flow, reached)
            if step is None:
                journey.ends.append((reader, name, carried[name]))
            else:
                carried[reader.id] = step
                journey.joined += [other for other in operands(reader) if other not in carried]
    return journey


def _descendants(name: str, flow: Flow) -> Iterator[str]:
    seen, waiting = {name}, [name]
    while waiting:
        for reader in flow.readers[waiting.pop()]:
            if reader.id not in seen:
                seen.add(reader.id)
                waiting.append(reader.id)
    yield from seen


def _step(reader: GraphNode, name: str, carried: dict[str, Dims], flow: Flow, reached: frozenset[str]) -> Dims | None:
    """Dimensions behind one operation, or None where it is not linear or not followed."""
    operation, dims, meta = short_name(reader), carried[name], flow.meta(reader.id)
    if not reader.op.startswith("aten.") or meta is None or operation in PRODUCTS:
        return None
    if operation in ("add", "sub", "rsub", "mul", "div"):
        return _combined(reader, name, carried, flow, reached)
    if flow.operand(reader, 0) != name:
        return None
    if operation in _KEEPING:
        return dims
    if operation in ("sum", "mean"):
        return _summed(dims, argument(reader, 1, "dim"), bool(argument(reader, 2, "keepdim", False)))
    if operation in ("permute", "transpose", "t"):
        return tuple(dims[index] for index in _order(reader, len(dims)))
    if operation in _RESHAPING:
        return _reshaped(dims, meta.shape)
    return _averaged(reader, dims, flow) if operation in _AVERAGING else None


def _combined(
    reader: GraphNode, name: str, carried: dict[str, Dims], flow: Flow, reached: frozenset[str]
) -> Dims | None:
    """Sums with anything of another origin; products with what varies along rows alone or along columns alone."""
    read, operation, dims = operands(reader), short_name(reader), carried[name]
    meta = flow.meta(reader.id)
    others = [other for other in read if other != name]
    if meta is None or (operation in ("mul", "div") and read.count(name) > 1):
        return None
    if operation == "div" and flow.operand(reader, 0) != name:
        return None
    widened = _widened(dims, meta.shape)
    for other in others:
        if other in reached:
            if operation in ("mul", "div") or carried.get(other) != dims:
                return None
        elif operation in ("mul", "div") and len(_varying(widened, flow, other)) > 1:
            return None
    return widened


def _varying(dims: Dims, flow: Flow, other: str) -> set[Kind]:
    """Along which kinds of dimension another operand differs."""
    meta = flow.meta(other)
    shape = () if meta is None else meta.shape
    aligned = zip(dims[len(dims) - len(shape) :], shape, strict=True)
    return {factor.kind for dim, size in aligned if size > 1 for factor in dim}


def _widened(dims: Dims, shape: tuple[int, ...]) -> Dims:
    """Dimensions after broadcasting to a larger shape."""
    padded = ((),) * (len(shape) - len(dims)) + dims
    return tuple(
        dim if prod(f.size for f in dim) == size else (*dim, Factor(Kind.OTHER, size))
        for dim, size in zip(padded, shape, strict=True)
    )


def _summed(dims: Dims, which: Any, keep: bool) -> Dims:
    listed = [which] if isinstance(which, int) else list(which or range(len(dims)))
    gone = {index % len(dims) for index in listed} if dims else set()
    return tuple(() if index in gone else dim for index, dim in enumerate(dims) if keep or index not in gone)


def _order(reader: GraphNode, count: int) -> list[int]:
    """Where each dimension of the result comes from."""
    if short_name(reader) == "permute":
        return [int(index) % count for index in argument(reader, 1, "dims", range(count))]
    order = list(range(count))
    if count > 1:
        first, second = argument(reader, 1, "dim0", 0) % count, argument(reader, 2, "dim1", 1) % count
        order[first], order[second] = order[second], order[first]
    return order


def _reshaped(dims: Dims, shape: tuple[int, ...]) -> Dims | None:
    """The same factors in the same order, dealt out to other dimensions; None where one would have to be cut oddly."""
    factors = [factor for dim in dims for factor in dim if factor.size != 1]
    dealt = []
    for size in shape:
        taken: list[Factor] = []
        while size > 1:
            if not factors:
                return None
            factor = factors.pop(0)
            if size % factor.size == 0:
                taken.append(factor)
                size //= factor.size
            elif factor.size % size == 0:
                taken.append(Factor(factor.kind, size))
                factors.insert(0, Factor(factor.kind, factor.size // size))
                size = 1
            else:
                return None
        dealt.append(tuple(taken))
    return None if factors else tuple(dealt)


def _averaged(reader: GraphNode, dims: Dims, flow: Flow) -> Dims | None:
    """Pools that cut the image into equal tiles."""
    meta, source = flow.meta(reader.id), flow.meta(operands(reader)[0])
    if meta is None or source is None:
        return None
    pooled = int(next(digit for digit in short_name(reader) if digit.isdigit()))
    sizes = list(zip(source.shape[-pooled:], meta.shape[-pooled:], dims[-pooled:], strict=True))
    if any(size % count or len(dim) > 1 for size, count, dim in sizes if count):
        return None
    if not short_name(reader).startswith("adaptive"):
        window = pool_window(reader, flow)
        if window is None or window.strides != window.kernel or any(window.padding):
            return None
    kinds = [(dim[0].kind if dim else Kind.OTHER, count) for _, count, dim in sizes]
    return dims[:-pooled] + tuple((Factor(kind, count),) if count > 1 else () for kind, count in kinds)
