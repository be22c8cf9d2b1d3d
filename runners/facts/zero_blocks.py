"""Products with matrices that are zero above, below or beside their diagonal: what is left to multiply.

Used by `algebra.py`. Where the zeros come from is read from the graph (`triu`, `tril`, `diag`) or, for an input,
was seen in every draw (`input_structure.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod

from everforge.model.graph import GraphNode, TensorMeta
from everforge.runners.facts.dataflow import Flow, argument, factors, operands, short_name
from everforge.runners.facts.demand import kept_in_rows


class Shape(StrEnum):
    """Where a matrix may be other than zero."""

    UPPER = "upper triangular"
    LOWER = "lower triangular"
    DIAGONAL = "diagonal"


@dataclass(frozen=True)
class Zeros:
    """The zero structure of the last two dimensions of a tensor."""

    shape: Shape
    diagonal: int = 0

    def transposed(self) -> "Zeros":
        """The structure after the two dimensions have changed places."""
        flipped = {Shape.UPPER: Shape.LOWER, Shape.LOWER: Shape.UPPER, Shape.DIAGONAL: Shape.DIAGONAL}
        return replace(self, shape=flipped[self.shape], diagonal=-self.diagonal)

    def kept_in_rows(self, rows: int, columns: int) -> list[int]:
        """How many elements of each row may be other than zero."""
        if self.shape is Shape.DIAGONAL:
            return [int(0 <= row + self.diagonal < columns) for row in range(rows)]
        return kept_in_rows("triu" if self.shape is Shape.UPPER else "tril", rows, columns, self.diagonal)


_MADE_BY = {"triu": Shape.UPPER, "tril": Shape.LOWER, "diag": Shape.DIAGONAL, "diag_embed": Shape.DIAGONAL}
_KEPT_BY = ("clone", "_to_copy", "to", "contiguous", "neg", "mul", "div", "alias", "detach")
_TRANSPOSES = ("t", "transpose", "permute")


def zeros_of(name: str, flow: Flow, seen: Mapping[str, Zeros]) -> Zeros | None:
    """The zero structure of a node, as far back as it is kept; None for a full matrix."""
    if name in seen:
        return seen[name]
    node, meta = flow.nodes[name], flow.meta(name)
    operation, source = short_name(node), flow.operand(node, 0)
    if source is None or meta is None:
        return None
    if operation in _MADE_BY:
        return _made(node, flow.meta(source))
    if operation in _KEPT_BY:
        return zeros_of(source, flow, seen)
    if operation in _TRANSPOSES and len(meta.shape) == 2:
        before = zeros_of(source, flow, seen)
        return None if before is None else before.transposed()
    return None


def _made(node: GraphNode, source: TensorMeta | None) -> Zeros | None:
    """What `triu`, `tril` and `diag` make; `diag` of a matrix takes its diagonal out instead."""
    operation = short_name(node)
    if operation == "diag" and (source is None or len(source.shape) != 1):
        return None
    place = "offset" if operation == "diag_embed" else "diagonal"
    return Zeros(_MADE_BY[operation], int(argument(node, 1, place, 0)))


def is_explained(name: str, flow: Flow, sparse: frozenset[str]) -> bool:
    """Whether the zeros of a node that may hold some are all in a structure that `zeros_of` tells."""
    node = flow.nodes[name]
    source, others = flow.operand(node, 0), operands(node)[1:]
    if name not in sparse:
        return True
    if source is None or any(other in sparse for other in others) or zeros_of(name, flow, {}) is None:
        return False
    return source not in sparse if short_name(node) in _MADE_BY else is_explained(source, flow, sparse)


def kept_flops(node: GraphNode, flow: Flow, seen: Mapping[str, Zeros]) -> tuple[float, list[str]] | None:
    """FLOPs of a product without those on zeros, and what its operands are. None for full operands."""
    operation, read = short_name(node), factors(node)
    metas = [flow.meta(name) for name in read]
    if operation not in ("mm", "matmul", "linear", "bmm", "addmm", "baddbmm") or len(metas) != 2 or None in metas:
        return None
    left, right = (meta.shape for meta in metas if meta is not None)
    if min(len(left), len(right)) < 2:
        return None
    found = [zeros_of(name, flow, seen) for name in read]
    if operation == "linear" and found[1] is not None:
        found[1] = found[1].transposed()
    if found == [None, None]:
        return None
    rows, length = left[-2:]
    columns = right[-2] if operation == "linear" else right[-1]
    down = found[0].transposed().kept_in_rows(length, rows) if found[0] else [rows] * length
    across = found[1].kept_in_rows(length, columns) if found[1] else [columns] * length
    products = sum(one * other for one, other in zip(down, across, strict=True))
    batch = prod(node.outputs[0].shape[:-2])
    return 2.0 * batch * products, [found_one.shape for found_one in found if found_one]
