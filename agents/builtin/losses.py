"""Losses and similarities of ATen in the plan's primitives, element by element; `planner.py` looks them up here.

A loss is one row of all elements; those that fold rows first are in `row_losses.py`. ATen numbers its reductions:
0 none, 1 mean, 2 sum.
"""

from collections.abc import Callable

from everforge.agents.builtin.axes import Resident, Source, Unfusable
from everforge.agents.builtin.drafts import Operand
from everforge.agents.builtin.operations import Handler, Ops
from everforge.agents.builtin.reductions import average, fold

_LOWEST_LOGARITHM = -100.0  # where PyTorch ends those of a binary cross entropy


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


def _binary_cross_entropy(
    ops: Ops, self: Operand, target: Operand, weight: Operand | None = None, reduction: int = 1
) -> Operand:
    """-(t · log x + (1 - t) · log(1 - x)), logarithms cut at -100."""
    yes = ops("maximum", ops("log", self), _LOWEST_LOGARITHM)
    no = ops("maximum", ops("log1p", ops("neg", self)), _LOWEST_LOGARITHM)
    each = ops("sub", ops("mul", ops("sub", target, 1.0), no), ops("mul", target, yes))
    return _reduced(ops, each if weight is None else ops("mul", each, weight), reduction)


def _binary_cross_entropy_with_logits(
    ops: Ops,
    self: Operand,
    target: Operand,
    weight: Operand | None = None,
    pos_weight: Operand | None = None,
    reduction: int = 1,
) -> Operand:
    """(1 - t) · x + p · log(1 + exp(-x)), where p is 1 + (pos_weight - 1) · t; exp of -|x| never overflows."""
    soft = ops("add", ops("log1p", ops("exp", ops("neg", ops("abs", self)))), ops("maximum", ops("neg", self), 0.0))
    if pos_weight is not None:
        soft = ops("mul", ops("add", ops("mul", ops("sub", pos_weight, 1.0), target), 1.0), soft)
    each = ops("add", ops("mul", ops("sub", 1.0, target), self), soft)
    return _reduced(ops, each if weight is None else ops("mul", each, weight), reduction)


def _soft_margin(ops: Ops, self: Operand, target: Operand, reduction: int = 1) -> Operand:
    """log(1 + exp(-t · x))."""
    return _reduced(ops, ops("log1p", ops("exp", ops("neg", ops("mul", target, self)))), reduction)


def _margin_ranking(
    ops: Ops, input1: Operand, input2: Operand, target: Operand, margin: float = 0.0, reduction: int = 1
) -> Operand:
    """max(margin - t · (x - y), 0)."""
    ahead = ops("mul", target, ops("sub", input1, input2))
    return _reduced(ops, ops("maximum", ops("sub", float(margin), ahead), 0.0), reduction)


def _hinge_embedding(ops: Ops, self: Operand, target: Operand, margin: float = 1.0, reduction: int = 1) -> Operand:
    """x where t is 1, max(margin - x, 0) where it is -1."""
    near = ops("where", ops("ne", target, -1.0), self, 0.0)
    far = ops("where", ops("ne", target, 1.0), ops("maximum", ops("sub", float(margin), self), 0.0), 0.0)
    return _reduced(ops, ops("add", near, far), reduction)


def _poisson(
    ops: Ops,
    input: Operand,  # noqa: A002  ATen's name
    target: Operand,
    log_input: bool,
    full: bool,
    eps: float,
    reduction: int,
) -> Operand:
    """exp(x) - t · x, or x - t · log(x + eps) where x is no logarithm."""
    if full:
        raise Unfusable("adds Stirling's formula")
    if log_input:
        return _reduced(ops, ops("sub", ops("exp", input), ops("mul", target, input)), reduction)
    return _reduced(ops, ops("sub", input, ops("mul", target, ops("log", ops("add", input, eps)))), reduction)


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
    "binary_cross_entropy": _binary_cross_entropy,
    "binary_cross_entropy_with_logits": _binary_cross_entropy_with_logits,
    "soft_margin_loss": _soft_margin,
    "margin_ranking_loss": _margin_ranking,
    "hinge_embedding_loss": _hinge_embedding,
    "poisson_nll_loss": _poisson,
}
"""ATen's short name to its handler."""
