"""Reductions, normalisations and scans of ATen in the plan's primitives; `planner.py` looks them up here.

A handler raises Incompatible (through the draft) when its dimensions are not the columns of the open region, and
Unfusable when no region can hold it.
"""

from dataclasses import replace
from math import inf, prod
from typing import Any

from everforge.agents.builtin.axes import (
    Delayed,
    Number,
    Pending,
    Resident,
    Source,
    Tensor,
    Trimmed,
    Unfusable,
    reshaped,
)
from everforge.agents.builtin.drafts import Operand
from everforge.agents.builtin.operations import Handler, Ops
from everforge.agents.builtin.plan import ReduceOp, ScanOp


def tensor_of(x: Operand | None) -> Tensor:
    """The operand as a tensor. Raises Unfusable for a number."""
    if not isinstance(x, Source | Resident):
        raise Unfusable("reduces a constant")
    return x


def _dims(x: Tensor, dim: Any) -> list[int]:
    """Dimensions as non-negative numbers; None and [] are all of them."""
    rank = len(x.shape)
    if dim is None or dim == []:
        return list(range(rank))
    return [d % rank for d in (dim if isinstance(dim, list | tuple) else [dim])] if rank else []


def fold(ops: Ops, op: ReduceOp, x: Operand, dim: Any, keepdim: bool) -> Resident:
    """One fold over the dimensions `dim`; None and [] are all of them."""
    tensor = tensor_of(x)
    return ops.draft.reduce(op, tensor, _dims(tensor, dim), keepdim)


def average(ops: Ops, x: Operand, dim: Any, keepdim: bool, correction: float = 0.0) -> Operand:
    """Sum over count (less a correction)."""
    tensor = ops.draft.resident(tensor_of(x))
    over = _dims(tensor, dim)
    total = ops.draft.reduce("sum", tensor, over, keepdim)
    count = ops.draft.column_count(tensor, over)
    if correction:
        if isinstance(count, Number):
            raise Unfusable("takes the variance of single elements")
        count = ops("maximum", ops("sub", count, correction), 0.0)
    return ops("div", total, count)


def _sum(ops: Ops, self: Operand, dim: Any = None, keepdim: bool = False) -> Operand:
    return fold(ops, "sum", self, dim, keepdim)


def _mean(ops: Ops, self: Operand, dim: Any = None, keepdim: bool = False) -> Operand:
    return average(ops, self, dim, keepdim)


def _amax(ops: Ops, self: Operand, dim: Any = None, keepdim: bool = False) -> Operand:
    return fold(ops, "max", self, dim, keepdim)


def _amin(ops: Ops, self: Operand, dim: Any = None, keepdim: bool = False) -> Operand:
    return fold(ops, "min", self, dim, keepdim)


def _prod(ops: Ops, self: Operand, dim: Any = None, keepdim: bool = False) -> Operand:
    return fold(ops, "prod", self, dim, keepdim)


def _centred(ops: Ops, x: Operand, dim: Any) -> Operand:
    return ops("sub", x, average(ops, x, dim, True))


def _variance(ops: Ops, self: Operand, dim: Any = None, correction: Any = 1, keepdim: bool = False) -> Operand:
    """Mean of squared distances from the mean, in two sweeps: a row stays in cache, and nothing cancels."""
    squares = ops("square", _centred(ops, self, dim))
    return average(ops, squares, dim, keepdim, 1.0 if correction is None else float(correction))


def _var(
    ops: Ops, self: Operand, dim: Any = None, unbiased: Any = True, keepdim: bool = False, **other: Any
) -> Operand:
    correction = other.pop("correction", 1 if unbiased else 0)
    if other:
        raise Unfusable(f"has arguments {sorted(other)}")
    if isinstance(dim, bool):
        dim, correction = None, int(dim)
    return _variance(ops, self, dim, correction, keepdim)


def _std(
    ops: Ops, self: Operand, dim: Any = None, unbiased: Any = True, keepdim: bool = False, **other: Any
) -> Operand:
    return ops("sqrt", _var(ops, self, dim, unbiased, keepdim, **other))


def _softmax(ops: Ops, self: Operand, dim: int, half_to_float: Any = False) -> Operand:  # noqa: ARG001  see _to_copy
    powers = ops("exp", ops("sub", self, fold(ops, "max", self, dim, True)))
    # One division a row: the sum is 1 or more, so its reciprocal neither overflows nor loses digits.
    return ops("mul", powers, ops("reciprocal", fold(ops, "sum", powers, dim, True)))


def _log_softmax(ops: Ops, self: Operand, dim: int, half_to_float: Any = False) -> Operand:  # noqa: ARG001
    shifted = ops("sub", self, fold(ops, "max", self, dim, True))
    return ops("sub", shifted, ops("log", fold(ops, "sum", ops("exp", shifted), dim, True)))


def _logsumexp(ops: Ops, self: Operand, dim: Any, keepdim: bool = False) -> Operand:
    """log Σ exp(x − m) + m, where an infinite maximum m counts as 0, as in PyTorch."""
    tensor = ops.draft.resident(tensor_of(self))
    if not any(tensor.dims[i] for i in _dims(tensor, dim)):
        return ops.draft.reduce("sum", tensor, _dims(tensor, dim), keepdim)
    return ops("add", *_log_sum(ops, tensor, dim, keepdim))


def _log_sum(ops: Ops, tensor: Tensor, dim: Any, keepdim: bool) -> tuple[Operand, Operand]:
    peaks = [fold(ops, "max", tensor, dim, keeps) for keeps in (True, keepdim)]
    kept, peak = (ops("where", ops("eq", ops("abs", peak), inf), 0.0, peak) for peak in peaks)
    powers = ops("exp", ops("sub", tensor, kept))
    return ops("log", fold(ops, "sum", powers, dim, keepdim)), peak


def _vector_norm(ops: Ops, self: Operand, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Operand:  # noqa: A002
    order = float(ord["float"]) if isinstance(ord, dict) else ord
    if order == 2:
        return ops("sqrt", fold(ops, "sum", ops("square", self), dim, keepdim))
    if order in (1, inf):
        return fold(ops, "sum" if order == 1 else "max", ops("abs", self), dim, keepdim)
    raise Unfusable(f"takes the norm of order {order}")


def _norm(ops: Ops, self: Operand, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Operand:
    return _vector_norm(ops, self, 2 if p is None or p == "fro" else p, dim, keepdim)


def _affine(ops: Ops, x: Operand, weight: Operand | None, bias: Operand | None) -> Operand:
    x = x if weight is None else ops("mul", x, weight)
    return x if bias is None else ops("add", x, bias)


def _normalised(ops: Ops, x: Operand, dim: Any, eps: float) -> Operand:
    """(x − mean) / √(variance + eps) over the dimensions."""
    centred = _centred(ops, x, dim)
    variance = average(ops, ops("square", centred), dim, True)
    return ops("mul", centred, ops("rsqrt", ops("add", variance, eps)))


def _layer_norm(
    ops: Ops,
    input: Operand,  # noqa: A002  ATen's name
    normalized_shape: list[int],
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,  # noqa: ARG001
) -> Operand:
    over = list(range(-len(normalized_shape), 0))
    return _affine(ops, _normalised(ops, input, over, eps), weight, bias)


def _rms_norm(
    ops: Ops,
    input: Operand,  # noqa: A002
    normalized_shape: list[int],
    weight: Operand | None = None,
    eps: float | None = None,
) -> Operand:
    over = list(range(-len(normalized_shape), 0))
    mean_square = average(ops, ops("square", input), over, True)
    epsilon = 2.0**-23 if eps is None else eps
    return _affine(ops, ops("mul", input, ops("rsqrt", ops("add", mean_square, epsilon))), weight, None)


def _grouped(ops: Ops, image: Tensor, groups: int) -> Tensor:
    """(N, C, …) as (N, groups, C / groups, …)."""
    literals = [extent.literal for extent in image.shape]
    return reshaped(ops.draft.table, image, [literals[0], groups, literals[1] // groups, *literals[2:]])


def _group_norm(
    ops: Ops,
    input: Operand,  # noqa: A002
    num_groups: int,
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,  # noqa: ARG001
) -> Operand:
    image = ops.draft.resident(tensor_of(input))
    grouped = _grouped(ops, image, num_groups)
    normal = _normalised(ops, grouped, list(range(2, len(grouped.shape))), eps)
    flat = reshaped(ops.draft.table, tensor_of(normal), [extent.literal for extent in image.shape])
    return _affine(ops, flat, ops.per_channel(image, weight), ops.per_channel(image, bias))


def _instance_norm(
    ops: Ops,
    input: Operand,  # noqa: A002
    weight: Operand | None,
    bias: Operand | None,
    running_mean: Operand | None,
    running_var: Operand | None,
    use_input_stats: bool,
    momentum: float,  # noqa: ARG001  only tracked statistics use it
    eps: float,
    cudnn_enabled: bool = True,  # noqa: ARG001
) -> Operand:
    if not use_input_stats or running_mean is not None or running_var is not None:
        raise Unfusable("tracks statistics")
    image = ops.draft.resident(tensor_of(input))
    normal = _normalised(ops, image, list(range(2, len(image.shape))), eps)
    return _affine(ops, normal, ops.per_channel(image, weight), ops.per_channel(image, bias))


def _batch_norm_of_batch(
    ops: Ops,
    input: Operand,  # noqa: A002
    weight: Operand | None,
    bias: Operand | None,
    training: bool,
    momentum: float,  # noqa: ARG001  there are no tracked statistics to move
    eps: float,
) -> Operand:
    """Each channel by the mean and variance it has in this batch."""
    if not training:
        raise Unfusable("has no running statistics")
    image = ops.draft.resident(tensor_of(input))
    over = [dim for dim in range(len(image.shape)) if dim != 1]
    normal = _normalised(ops, image, over, eps)
    return _affine(ops, normal, ops.per_channel(image, weight), ops.per_channel(image, bias))


def _pooled(rank: int) -> Handler:
    def handler(ops: Ops, self: Operand, output_size: list[int]) -> Operand:
        if prod(output_size) != 1:
            raise Unfusable("pools to more than one element")
        return average(ops, self, list(range(-rank, 0)), True)

    return handler


def _running(op: ScanOp) -> Handler:
    def handler(ops: Ops, self: Operand, dim: int) -> Operand:
        if not isinstance(self, Pending):
            tensor = tensor_of(self)
            return ops.draft.scan(op, tensor, dim % len(tensor.shape))
        if dim % len(self.tensor.shape) != self.dim or isinstance(self, Trimmed):
            raise Unfusable("runs along another dimension than the rearranged one")
        if isinstance(self, Delayed):
            if op != "sum":
                raise Unfusable("multiplies by the zero in front")
            # All before an element are all up to it less itself; that rounds no more than the sum does.
            return ops("sub", ops.draft.scan(op, self.tensor, self.dim), self.tensor)
        return replace(self, tensor=ops.draft.scan(op, self.tensor, self.dim, is_reverse=True))

    return handler


def _position(op: ReduceOp) -> Handler:
    def handler(ops: Ops, self: Operand, dim: Any = None, keepdim: bool = False) -> Operand:
        tensor = tensor_of(self)
        return ops.draft.locate(op, tensor, _dims(tensor, dim), keepdim)

    return handler


REDUCTIONS: dict[str, Handler] = {
    "sum": _sum,
    "mean": _mean,
    "amax": _amax,
    "amin": _amin,
    "max": _amax,
    "min": _amin,
    "prod": _prod,
    "var": _var,
    "std": _std,
    "softmax": _softmax,
    "_softmax": _softmax,
    "log_softmax": _log_softmax,
    "_log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "linalg_vector_norm": _vector_norm,
    "norm": _norm,
    "layer_norm": _layer_norm,
    "native_layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "_native_batch_norm_legit": _batch_norm_of_batch,
    "adaptive_avg_pool1d": _pooled(1),
    "adaptive_avg_pool2d": _pooled(2),
    "adaptive_avg_pool3d": _pooled(3),
    "cumsum": _running("sum"),
    "cumprod": _running("prod"),
    "argmax": _position("argmax"),
    "argmin": _position("argmin"),
}
"""ATen's short name to its handler; of max.dim and min.dim the one for the values, LOCATES names that for positions."""

LOCATES = {"max": "argmax", "min": "argmin"}
