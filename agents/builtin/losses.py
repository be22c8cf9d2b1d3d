"""Losses and similarities of ATen in the plan's primitives; `planner.py` looks them up here.

A loss is one row of all elements. ATen numbers its reductions: 0 none, 1 mean, 2 sum.
"""

from collections.abc import Callable

from everforge.agents.builtin.axes import Resident, Source, Unfusable
from everforge.agents.builtin.drafts import Operand
from everforge.agents.builtin.operations import Handler, Ops
from everforge.agents.builtin.reductions import average, fold


def _reduced(ops: Ops, each: Operand, reduction: int) -> Operand:
    if reduction == 0:
        return each
    return average(ops, each, None, False) if reduction == 1 else fold(ops, "sum", each, None, False)


def _difference_loss(elementwise: Callable[[Ops, Operand], Operand]) -> Handler:
    def handler(ops: Ops, self: Operand, target: Operand, reduction: int = 1) -> Operand:
        return _reduced(ops, elementwise(ops, ops("sub", self, target)), reduction)

    return handler


def _squared(ops: Ops, difference: Operand) -> Operand:
    return ops("square", difference)


def _absolute(ops: Ops, difference: Operand) -> Operand:
    return ops("abs", difference)


def _smooth_l1(ops: Ops, self: Operand, target: Operand, reduction: int = 1, beta: float = 1.0) -> Operand:
    """d² / (2 beta) where d = |x - y| is below beta, else d - beta / 2."""
    size = ops("abs", ops("sub", self, target))
    if beta == 0:
        return _reduced(ops, size, reduction)
    square = ops("mul", ops("square", size), 0.5 / beta)
    return _reduced(ops, ops("where", ops("lt", size, beta), square, ops("sub", size, 0.5 * beta)), reduction)


def _huber(ops: Ops, self: Operand, target: Operand, reduction: int = 1, delta: float = 1.0) -> Operand:
    """d² / 2 where d = |x - y| is at most delta, else delta · (d - delta / 2)."""
    size = ops("abs", ops("sub", self, target))
    square = ops("mul", ops("square", size), 0.5)
    line = ops("mul", ops("sub", size, 0.5 * delta), delta)
    return _reduced(ops, ops("where", ops("le", size, delta), square, line), reduction)


def _kl_divergence(
    ops: Ops, self: Operand, target: Operand, reduction: int = 1, *, log_target: bool = False
) -> Operand:
    """target · (log target - x), 0 where the target is 0; with `log_target` the target is a logarithm."""
    if log_target:
        return _reduced(ops, ops("mul", ops("exp", target), ops("sub", target, self)), reduction)
    logarithm = ops("where", ops("eq", target, 0.0), 0.0, ops("mul", target, ops("log", target)))
    return _reduced(ops, ops("sub", logarithm, ops("mul", target, self)), reduction)


def _cosine_similarity(ops: Ops, x1: Operand, x2: Operand, dim: int = 1, eps: float = 1e-8) -> Operand:
    """x1 · x2 / (max(|x1|, eps) · max(|x2|, eps)) along a dimension."""
    if not isinstance(x1, Source | Resident) or not isinstance(x2, Source | Resident):
        raise Unfusable("compares with a constant")
    if [extent.literal for extent in x1.shape] != [extent.literal for extent in x2.shape]:
        raise Unfusable("compares tensors of different shapes")
    product = fold(ops, "sum", ops("mul", x1, x2), dim, False)
    lengths = [ops("sqrt", fold(ops, "sum", ops("square", x), dim, False)) for x in (x1, x2)]
    first, second = (ops("maximum", length, eps) for length in lengths)
    return ops("div", product, ops("mul", first, second))


LOSSES: dict[str, Handler] = {
    "mse_loss": _difference_loss(_squared),
    "l1_loss": _difference_loss(_absolute),
    "smooth_l1_loss": _smooth_l1,
    "huber_loss": _huber,
    "kl_div": _kl_divergence,
    "cosine_similarity": _cosine_similarity,
}
"""ATen's short name to its handler."""
