"""Views of ATen as changes of dimensions: nothing is moved, so they cost no step of the plan.

`planner.py` looks an operation up in VIEWS. A handler gets the axis table, the tensor, the node's traced output
shape and the node's further arguments; it raises Unfusable where the view cannot be expressed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from everforge.agents.builtin.axes import (
    AxisTable,
    Tensor,
    Unfusable,
    expanded,
    permuted,
    reshaped,
    squeezed,
    unsqueezed,
)

View = Callable[[AxisTable, Tensor, Sequence[int], Sequence[Any]], Tensor]


def _reshape(table: AxisTable, tensor: Tensor, shape: Sequence[int], _: Sequence[Any]) -> Tensor:
    return reshaped(table, tensor, shape)


def _same(_: AxisTable, tensor: Tensor, shape: Sequence[int], __: Sequence[Any]) -> Tensor:
    if [extent.literal for extent in tensor.shape] != list(shape):
        raise Unfusable("changes the shape")
    return tensor


def _permute(_: AxisTable, tensor: Tensor, __: Sequence[int], args: Sequence[Any]) -> Tensor:
    return permuted(tensor, [dim % len(tensor.shape) for dim in args[0]])


def _transpose(_: AxisTable, tensor: Tensor, __: Sequence[int], args: Sequence[Any]) -> Tensor:
    order = list(range(len(tensor.shape)))
    first, second = (dim % len(order) for dim in args[:2])
    order[first], order[second] = order[second], order[first]
    return permuted(tensor, order)


def _reverse(_: AxisTable, tensor: Tensor, __: Sequence[int], ___: Sequence[Any]) -> Tensor:
    return permuted(tensor, list(reversed(range(len(tensor.shape)))))


def _unsqueeze(_: AxisTable, tensor: Tensor, shape: Sequence[int], args: Sequence[Any]) -> Tensor:
    return unsqueezed(tensor, args[0] % len(shape))


def _squeeze(_: AxisTable, tensor: Tensor, __: Sequence[int], args: Sequence[Any]) -> Tensor:
    rank = len(tensor.shape)
    named = range(rank) if not args else args[0] if isinstance(args[0], list) else [args[0]]
    return squeezed(tensor, [dim % rank for dim in named])


def _expand(_: AxisTable, tensor: Tensor, shape: Sequence[int], __: Sequence[Any]) -> Tensor:
    return expanded(tensor, shape)


def _dropout(table: AxisTable, tensor: Tensor, shape: Sequence[int], args: Sequence[Any]) -> Tensor:
    if args[1]:
        raise Unfusable("draws random numbers")
    return _same(table, tensor, shape, args)


VIEWS: dict[str, View] = {
    "view": _reshape,
    "_unsafe_view": _reshape,
    "reshape": _reshape,
    "flatten": _reshape,
    "unflatten": _reshape,
    "permute": _permute,
    "transpose": _transpose,
    "t": _reverse,
    "numpy_T": _reverse,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "contiguous": _same,
    "clone": _same,
    "alias": _same,
    "detach": _same,
    "lift_fresh_copy": _same,
    "dropout": _dropout,
    "feature_dropout": _dropout,
}
"""ATen's short name to its handler."""
