"""Products written in the few forms the planner knows: `planner.py` brings every graph to them before it walks it.

`einsum` becomes views around one product; `addmm` and `baddbmm` with factors, or with an addend that is no bias, a
product and arithmetic that its epilogue takes up. A product with a vector is a sum over rows: it is bound by the
matrix's bytes, which a row program reads once and in float32, where tensor cores would be fed mostly with padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from everforge.agents.builtin.abilities import Abilities
from everforge.agents.builtin.weaving import Change, Weaver, woven
from everforge.model.graph import GraphNode, TaskGraph


def normalised(graph: TaskGraph, abilities: Abilities) -> TaskGraph:
    """The graph in the planner's terms."""
    products = woven(graph, _PRODUCTS)
    # A row program must be able to read a matrix along either of its dimensions.
    return woven(products, _VECTORS) if abilities.any_order else products


# sums with a product ---------------------------------------------------------------------------------------


def _addmm(weaver: Weaver) -> list[GraphNode] | None:
    """beta·added + alpha·(a @ b); a plain bias stays with its product."""
    shape = weaver.shape(weaver.node.args[0])
    if shape is not None and len(shape) == 1 and not weaver.node.kwargs:
        return None
    return _added_product(weaver, "aten.mm.default")


def _baddbmm(weaver: Weaver) -> list[GraphNode] | None:
    return _added_product(weaver, "aten.bmm.default")


def _added_product(weaver: Weaver, op: str) -> list[GraphNode]:
    added, lhs, rhs = weaver.node.args[:3]
    shape = weaver.node.outputs[0].shape
    product = weaver.add(op, (lhs, rhs), shape)
    alpha, beta = (_number(weaver.node.kwargs.get(name, 1)) for name in ("alpha", "beta"))
    if alpha != 1:
        product = weaver.add("aten.mul.Tensor", (product, alpha), shape)
    if beta == 0:  # PyTorch does not even look for NaN in what is added then
        return weaver.finish("aten.alias.default", (product,))
    return weaver.finish("aten.add.Tensor", (product, added), **({} if beta == 1 else {"alpha": beta}))


def _number(arg: Any) -> float:
    return float(arg["float"]) if isinstance(arg, dict) else arg


# einsum ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Letters:
    """The dimensions of two operands and their result by what becomes of them."""

    operands: tuple[str, str]
    batch: str
    left: str
    right: str
    summed: str
    result: str

    @staticmethod
    def of(equation: str) -> "_Letters | None":
        """None for what is not one product of two tensors: a trace, a diagonal, an ellipsis, an outer product."""
        inputs, arrow, result = equation.replace(" ", "").partition("->")
        first, comma, second = inputs.partition(",")
        if not arrow:
            result = "".join(sorted(letter for letter in set(first + second) if (first + second).count(letter) == 1))
        if not comma or "," in second or "." in equation or any(len(set(s)) != len(s) for s in (first, second, result)):
            return None
        both = [letter for letter in first if letter in second]
        alone = [letter for letter in first + second if letter not in both]
        summed = "".join(letter for letter in both if letter not in result)
        if not summed or any(letter not in result for letter in alone):
            return None
        batch = "".join(letter for letter in result if letter in both)
        left, right = ("".join(c for c in result if c in side and c not in both) for side in (first, second))
        return _Letters((first, second), batch, left, right, summed, result)


def _einsum(weaver: Weaver) -> list[GraphNode] | None:
    """Two operands brought to batch, rows and columns, multiplied, and their result's dimensions put in order."""
    equation, operands, *_ = weaver.node.args
    letters = _Letters.of(equation) if len(operands) == 2 else None
    shapes = [weaver.shape(operand) for operand in operands]
    if letters is None or None in shapes:
        return None
    sizes: dict[str, int] = {}
    for text, shape in zip(letters.operands, shapes, strict=True):
        for letter, extent in zip(text, shape or (), strict=True):
            if sizes.setdefault(letter, extent) != extent:  # an extent of 1 that is broadcast
                return None
    return _as_product(weaver, letters, sizes)


def _as_product(weaver: Weaver, letters: _Letters, sizes: dict[str, int]) -> list[GraphNode]:
    def extents(text: str) -> list[int]:
        return [sizes[letter] for letter in text]

    batch, summed = extents(letters.batch), prod(extents(letters.summed))
    # Without a batch the rows need not be merged: the planner takes any number of leading dimensions.
    rows = [prod(extents(letters.left))] if letters.batch or not letters.left else extents(letters.left)
    columns = prod(extents(letters.right))
    lhs, rhs = weaver.node.args[1]
    lhs = _arranged(weaver, lhs, letters.operands[0], letters.batch + letters.left + letters.summed, sizes)
    lhs = weaver.add("aten.reshape.default", (lhs, [*batch, *rows, summed]), [*batch, *rows, summed])
    rhs = _arranged(weaver, rhs, letters.operands[1], letters.batch + letters.summed + letters.right, sizes)
    rhs = weaver.add("aten.reshape.default", (rhs, [*batch, summed, columns]), [*batch, summed, columns])
    product = weaver.add("aten.matmul.default", (lhs, rhs), [*batch, *rows, columns])
    natural = letters.batch + letters.left + letters.right
    product = weaver.add("aten.reshape.default", (product, extents(natural)), extents(natural))
    order = [natural.index(letter) for letter in letters.result]
    return weaver.finish("aten.permute.default", (product, order))


def _arranged(weaver: Weaver, operand: Any, text: str, wanted: str, sizes: dict[str, int]) -> Any:
    order = [text.index(letter) for letter in wanted]
    return weaver.add("aten.permute.default", (operand, order), [sizes[letter] for letter in wanted])


# products with a vector ------------------------------------------------------------------------------------


def _product(weaver: Weaver) -> list[GraphNode] | None:
    """A product whose right operand is a vector, or a matrix of one column; a vector times a matrix."""
    lhs, rhs = weaver.node.args[:2]
    left, right = weaver.shape(lhs), weaver.shape(rhs)
    if left is None or right is None:
        return None
    if len(right) == 1:
        return _row_sums(weaver, lhs, left, rhs, keeps=False)
    if len(right) == 2 and right[1] == 1 and len(left) >= 2:
        vector = weaver.add("aten.reshape.default", (rhs, [right[0]]), right[:1])
        return _row_sums(weaver, lhs, left, vector, keeps=True)
    if len(left) == 1 and len(right) == 2:
        column = weaver.add("aten.unsqueeze.default", (lhs, 1), (left[0], 1))
        products = weaver.add("aten.mul.Tensor", (rhs, column), right)
        return weaver.finish("aten.sum.dim_IntList", (products, [0]))
    return None


def _linear(weaver: Weaver) -> list[GraphNode] | None:
    """A linear layer with one output."""
    lhs, weight, *bias = weaver.node.args
    left, right = weaver.shape(lhs), weaver.shape(weight)
    if left is None or right is None or len(right) != 2 or right[0] != 1 or len(left) < 2:
        return None
    vector = weaver.add("aten.reshape.default", (weight, [right[1]]), right[1:])
    if not bias or bias[0] is None:
        return _row_sums(weaver, lhs, left, vector, keeps=True)
    products = weaver.add("aten.mul.Tensor", (lhs, vector), left)
    sums = weaver.add("aten.sum.dim_IntList", (products, [-1], True), (*left[:-1], 1))
    return weaver.finish("aten.add.Tensor", (sums, bias[0]))


def _row_sums(weaver: Weaver, lhs: Any, left: Sequence[int], vector: Any, keeps: bool) -> list[GraphNode]:
    products = weaver.add("aten.mul.Tensor", (lhs, vector), left)
    return weaver.finish("aten.sum.dim_IntList", (products, [-1], keeps))


_PRODUCTS: dict[str, Change] = {"addmm": _addmm, "baddbmm": _baddbmm, "einsum": _einsum}
_VECTORS: dict[str, Change] = {
    "matmul": _product,
    "mm": _product,
    "mv": _product,
    "dot": _product,
    "linear": _linear,
}
