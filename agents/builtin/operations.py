"""Pointwise operations of ATen in the plan's primitives.

`planner.py` looks an operation up in POINTWISE (here) or REDUCTIONS (`reductions.py`). A handler's parameters are
named as in ATen's schema, so that the graph's positional and keyword arguments bind to it; what does not bind, or
what a handler refuses by raising Unfusable, is left to PyTorch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

from everforge.agents.builtin.axes import Number, Pending, Resident, Source, Unfusable, unsqueezed
from everforge.agents.builtin.drafts import Draft, Operand
from everforge.agents.builtin.plan import Constant, Pointwise

Handler = Callable[..., Operand]


@dataclass(frozen=True)
class Ops:
    """Primitives on the open draft; every method takes tensors, Numbers or plain numbers."""

    draft: Draft

    def __call__(self, op: str, *operands: Operand | float) -> Operand:
        """One primitive; arithmetic between two known numbers is not done here."""
        tensors = Source | Resident | Number | Pending
        wrapped = [operand if isinstance(operand, tensors) else Number(operand) for operand in operands]
        if all(isinstance(operand, Number) for operand in wrapped):
            raise Unfusable("computes with constants alone")
        return self.draft.pointwise(op, *wrapped)

    def clamp(self, x: Operand, low: Operand | float | None, high: Operand | float | None) -> Operand:
        """min(max(x, low), high)."""
        if low is not None:
            x = self("maximum", x, low)
        return x if high is None else self("minimum", x, high)

    def per_channel(self, image: Operand, part: Operand | None) -> Operand | None:
        """A vector over channels, dimension 1 of the image, ready to be combined with it."""
        if not isinstance(part, Source) or not isinstance(image, Source | Resident):
            return part
        seen = part
        for _ in range(len(image.shape) - 2):
            seen = unsqueezed(seen, len(seen.shape))
        return self.draft.beside(seen, image)

    def affine(self, x: Operand, factor: float, shift: float) -> Operand:
        """x·factor + shift."""
        return self("add", self("mul", x, factor), shift)


def _unary(op: str) -> Handler:
    def handler(ops: Ops, self: Operand) -> Operand:
        return ops(op, self)

    return handler


def _binary(op: str) -> Handler:
    def handler(ops: Ops, self: Operand, other: Operand | float) -> Operand:
        return ops(op, self, other)

    return handler


def _scaled(ops: Ops, other: Operand | float, alpha: float) -> Operand | float:
    """other·alpha, without a multiplication by 1."""
    if alpha == 1:
        return other
    return other * alpha if isinstance(other, int | float) else ops("mul", other, alpha)


def _add(ops: Ops, self: Operand, other: Operand | float, alpha: float = 1) -> Operand:
    if alpha != 1 and isinstance(self, Source) and isinstance(other, Source):
        self = ops.draft.resident(self)  # the whole before its part: the scaled part alone would open a small region
    return ops("add", self, _scaled(ops, other, alpha))


def _sub(ops: Ops, self: Operand, other: Operand | float, alpha: float = 1) -> Operand:
    return ops("sub", self, _scaled(ops, other, alpha))


def _rsub(ops: Ops, self: Operand, other: Operand | float, alpha: float = 1) -> Operand:
    return ops("sub", other, self if alpha == 1 else ops("mul", self, alpha))


def _div(ops: Ops, self: Operand, other: Operand | float, rounding_mode: str | None = None) -> Operand:
    quotient = ops("div", self, other)
    if rounding_mode not in (None, "floor"):
        raise Unfusable(f"rounds by {rounding_mode}")
    return ops("floor", quotient) if rounding_mode else quotient


def _pow(ops: Ops, self: Operand, exponent: Operand | float) -> Operand:
    if isinstance(exponent, int | float):
        if exponent == 3:
            return ops("mul", ops("square", self), self)
        named = {2: "square", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}.get(exponent)
        if named:
            return ops(named, self)
    return ops("pow", self, exponent)


def _scaled_log(factor: float) -> Handler:
    def handler(ops: Ops, self: Operand) -> Operand:
        return ops("mul", ops("log", self), factor)

    return handler


def _exp2(ops: Ops, self: Operand) -> Operand:
    return ops("exp", ops("mul", self, 0.6931471805599453))


def _relu(ops: Ops, self: Operand) -> Operand:
    return ops("maximum", self, 0.0)


def _bound(value: Any) -> Any:
    return float(value) if isinstance(value, int | float) else value


def _clamp(ops: Ops, self: Operand, min: Any = None, max: Any = None) -> Operand:  # noqa: A002  ATen's names
    return ops.clamp(self, _bound(min), _bound(max))


def _clamp_min(ops: Ops, self: Operand, min: Any) -> Operand:  # noqa: A002
    return ops.clamp(self, _bound(min), None)


def _clamp_max(ops: Ops, self: Operand, max: Any) -> Operand:  # noqa: A002
    return ops.clamp(self, None, _bound(max))


def _hardtanh(ops: Ops, self: Operand, min_val: float = -1.0, max_val: float = 1.0) -> Operand:
    return ops.clamp(self, float(min_val), float(max_val))


def _relu6(ops: Ops, self: Operand) -> Operand:
    return ops.clamp(self, 0.0, 6.0)


def _gelu(ops: Ops, self: Operand, approximate: str = "none") -> Operand:
    if approximate == "none":
        return ops("mul", ops("mul", self, 0.5), ops.affine(ops("erf", ops("mul", self, sqrt(0.5))), 1.0, 1.0))
    cubic = ops("mul", ops("mul", ops("square", self), self), 0.044715)
    inner = ops("mul", ops("add", self, cubic), 0.7978845608028654)
    return ops("mul", ops("mul", self, 0.5), ops("add", ops("tanh", inner), 1.0))


def _sigmoid(ops: Ops, self: Operand) -> Operand:
    return ops("sigmoid", self)


def _silu(ops: Ops, self: Operand) -> Operand:
    return ops("div", self, ops("add", ops("exp", ops("neg", self)), 1.0))


def _mish(ops: Ops, self: Operand) -> Operand:
    """x·tanh(log(1 + eˣ)); beyond 20 it is x."""
    return ops("mul", self, _tanh_of_softplus(ops, ops("exp", ops("minimum", self, 20.0))))


def _tanh_of_softplus(ops: Ops, power: Operand) -> Operand:
    """tanh(log(1 + p)) = n / (n + 2) with n = p·(p + 2): exact for small p, 1 from p = e²⁰ on."""
    n = ops("mul", power, ops("add", power, 2.0))
    return ops("div", n, ops("add", n, 2.0))


def _tanh(ops: Ops, self: Operand) -> Operand:
    """tanh; that of a softplus, as Mish is often written, needs no logarithm and no second exponential."""
    power = _power_in_softplus(ops, self)
    return ops("tanh", self) if power is None else _tanh_of_softplus(ops, power)


def _power_in_softplus(ops: Ops, softplus: Operand) -> Operand | None:
    """eˣ inside where(x > 20, x, log1p(eˣ)), as `_softplus` writes it; None for anything else."""
    if not isinstance(softplus, Resident):
        return None
    values = ops.draft.values
    chosen = values[softplus.value]
    if not isinstance(chosen, Pointwise) or chosen.op != "where":
        return None
    limit, x, soft = (values[arg] for arg in chosen.args)
    if not isinstance(soft, Pointwise) or soft.op != "log1p":
        return None
    power = values[soft.args[0]]
    bounded = values[power.args[0]] if isinstance(power, Pointwise) and power.op == "exp" else None
    same = isinstance(bounded, Pointwise) and bounded.op == "minimum" and values[bounded.args[0]] == x
    beyond = isinstance(limit, Pointwise) and limit.op == "gt" and values[limit.args[1]] == Constant(20.0)
    return replace(softplus, value=soft.args[0]) if same and beyond else None


def _softplus(ops: Ops, self: Operand, beta: float = 1.0, threshold: float = 20.0) -> Operand:
    scaled = self if beta == 1 else ops("mul", self, beta)
    soft = ops("log1p", ops("exp", ops("minimum", scaled, float(threshold))))
    soft = soft if beta == 1 else ops("div", soft, beta)
    return ops("where", ops("gt", scaled, threshold), self, soft)


def _leaky_relu(ops: Ops, self: Operand, negative_slope: float = 0.01) -> Operand:
    return ops("where", ops("gt", self, 0.0), self, ops("mul", self, negative_slope))


def _prelu(ops: Ops, self: Operand, weight: Operand) -> Operand:
    if not isinstance(weight, Source | Resident) or any(extent.literal != 1 for extent in weight.shape):
        raise Unfusable("has a slope for each channel")
    return ops("where", ops("gt", self, 0.0), self, ops("mul", self, weight))


def _elu(ops: Ops, self: Operand, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Operand:
    negative = ops("mul", ops("expm1", ops("mul", self, input_scale)), alpha * scale)
    return ops("where", ops("gt", self, 0.0), ops("mul", self, scale), negative)


def _selu(ops: Ops, self: Operand) -> Operand:
    return _elu(ops, self, 1.6732632423543772, 1.0507009873554805)


def _celu(ops: Ops, self: Operand, alpha: float = 1.0) -> Operand:
    return _elu(ops, self, alpha, 1.0, 1.0 / alpha)


def _hardsigmoid(ops: Ops, self: Operand) -> Operand:
    return ops("div", ops.clamp(ops("add", self, 3.0), 0.0, 6.0), 6.0)


def _hardswish(ops: Ops, self: Operand) -> Operand:
    return ops("div", ops("mul", self, ops.clamp(ops("add", self, 3.0), 0.0, 6.0)), 6.0)


def _log_sigmoid(ops: Ops, self: Operand) -> Operand:
    soft = ops("log1p", ops("exp", ops("neg", ops("abs", self))))
    return ops("sub", ops("minimum", self, 0.0), soft)


def _softsign(ops: Ops, self: Operand) -> Operand:
    return ops("div", self, ops("add", ops("abs", self), 1.0))


def _threshold(ops: Ops, self: Operand, threshold: float, value: float) -> Operand:
    return ops("where", ops("le", self, threshold), value, self)


def _to_copy(ops: Ops, self: Operand) -> Operand:
    """A change of dtype: values stay float32 inside a region (as in Inductor's kernels) and are rounded when stored."""
    if not isinstance(self, Source | Resident):
        raise Unfusable("copies something that is no tensor")
    return ops.draft.resident(self)


def _where(ops: Ops, condition: Operand, self: Any, other: Any) -> Operand:
    return ops("where", condition, self, other)


def _masked_fill(ops: Ops, self: Operand, mask: Operand, value: Any) -> Operand:
    return ops("where", mask, value, self)


def _addcmul(ops: Ops, self: Operand, tensor1: Operand, tensor2: Operand, value: float = 1) -> Operand:
    return ops("add", self, _scaled(ops, ops("mul", tensor1, tensor2), value))


def _addcdiv(ops: Ops, self: Operand, tensor1: Operand, tensor2: Operand, value: float = 1) -> Operand:
    return ops("add", self, _scaled(ops, ops("div", tensor1, tensor2), value))


def _lerp(ops: Ops, self: Operand, end: Operand, weight: Any) -> Operand:
    return ops("add", self, ops("mul", ops("sub", end, self), weight))


def _reciprocal_root(ops: Ops, self: Operand) -> Operand:
    return ops("rsqrt", self)


def _batch_norm_eval(
    ops: Ops,
    input: Operand,  # noqa: A002  ATen's name
    weight: Operand | None,
    bias: Operand | None,
    running_mean: Operand,
    running_var: Operand,
    momentum: float,  # noqa: ARG001  plays no part in evaluation mode
    eps: float,
) -> Operand:
    """(x − mean) / √(var + eps) · weight + bias, each of them a value for every channel (dimension 1)."""
    parts = (running_mean, running_var, weight, bias)
    mean, variance, gain, shift = (ops.per_channel(input, part) for part in parts)
    if mean is None or variance is None:
        raise Unfusable("has no running statistics")
    scale = ops("rsqrt", ops("add", variance, eps))
    result = ops("mul", ops("sub", input, mean), scale)
    result = result if gain is None else ops("mul", result, gain)
    return result if shift is None else ops("add", result, shift)


_UNARY = (
    *("neg", "abs", "reciprocal", "sqrt", "rsqrt", "square", "exp", "expm1", "log", "log1p"),
    *("erf", "sigmoid", "sin", "cos", "floor", "ceil", "sign"),
)
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_LOGICAL = ("logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not")

POINTWISE: dict[str, Handler] = {
    **{name: _unary(name) for name in _UNARY},
    **{name: _binary(name) for name in _COMPARISONS},
    **{name: _binary(name) for name in ("maximum", "minimum", "logical_and", "logical_or")},
    "logical_not": _unary("logical_not"),
    "bitwise_not": _unary("logical_not"),
    "bitwise_and": _binary("logical_and"),
    "bitwise_or": _binary("logical_or"),
    "add": _add,
    "sub": _sub,
    "rsub": _rsub,
    "mul": _binary("mul"),
    "div": _div,
    "pow": _pow,
    "log2": _scaled_log(1.4426950408889634),
    "log10": _scaled_log(0.4342944819032518),
    "exp2": _exp2,
    "relu": _relu,
    "relu6": _relu6,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "hardtanh": _hardtanh,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "softplus": _softplus,
    "tanh": _tanh,
    "leaky_relu": _leaky_relu,
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "log_sigmoid": _log_sigmoid,
    "softsign": _softsign,
    "threshold": _threshold,
    "where": _where,
    "_to_copy": _to_copy,
    "masked_fill": _masked_fill,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    "lerp": _lerp,
    "_native_batch_norm_legit_no_training": _batch_norm_eval,
}
"""ATen's short name to its handler."""

BOOLEAN = frozenset({*_COMPARISONS, *_LOGICAL})
"""Operations whose result PyTorch keeps as booleans, which only a region's inside can hold."""
