"""Losses that fold each row before they fold the rows, in the plan's primitives; `planner.py` looks them up here.

Cross entropy needs the score of one class of a row. Reading it by its place would be a second, scattered read; the row
is swept for its maximum and its exponentials anyway, and one comparison finds the class on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from everforge.agents.builtin.axes import Resident, Tensor, Unfusable, squeezed, unsqueezed
from everforge.agents.builtin.drafts import Operand
from everforge.agents.builtin.operations import Handler, Ops
from everforge.agents.builtin.reductions import average, fold, tensor_of


@dataclass(frozen=True)
class RowLoss:
    """The loss of every row and, if rows do not all count alike, what each weighs in the mean.

    `reduction` is ATen's: 1 mean, 2 sum.
    """

    parts: tuple[Operand, ...]
    reduction: int

    def folded(self, ops: Ops, parts: Sequence[Operand | None]) -> Operand:
        """The mean or sum of the parts, once they are in memory."""
        each, *weights = [tensor_of(part) for part in parts]
        if self.reduction == 1 and not weights:
            return average(ops, each, None, False)
        total = fold(ops, "sum", each, None, False)
        return ops("div", total, fold(ops, "sum", weights[0], None, False)) if weights else total


def _over_rows(parts: tuple[Operand, ...], reduction: int) -> Any:
    """What a handler returns: the rows' losses themselves, or what the planner folds."""
    if reduction == 0:
        return parts[0]
    return RowLoss(parts if reduction == 1 else parts[:1], reduction)


def _cross_entropy(
    ops: Ops,
    self: Operand,
    target: Operand,
    weight: Operand | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Any:
    """log Σ exp(x) - x of the class, both less the row's maximum, over dimension 1."""
    scores, wanted = _scores_and_target(ops, self, target)
    peak = fold(ops, "max", scores, 1, False)
    powers = ops("exp", ops("sub", scores, fold(ops, "max", scores, 1, True)))
    total = ops("log", fold(ops, "sum", powers, 1, False))
    if len(wanted.shape) == len(scores.shape):
        return _over_rows((_of_shares(ops, scores, wanted, weight, label_smoothing),), reduction)
    each = ops("sub", total, ops("sub", _of_class(ops, scores, wanted), peak))
    if label_smoothing:
        if weight is not None:
            raise Unfusable("smooths labels of classes that weigh differently")
        even = ops("sub", total, ops("sub", average(ops, scores, 1, False), peak))
        each = ops("add", ops("mul", each, 1.0 - label_smoothing), ops("mul", even, label_smoothing))
    return _over_rows(_weighed(ops, scores, each, wanted, weight, ignore_index), reduction)


def _negative_log_likelihood(
    ops: Ops,
    self: Operand,
    target: Operand,
    weight: Operand | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
) -> Any:
    """Minus the logarithm of the class, where the logarithms are computed in the same kernel."""
    if not isinstance(self, Resident):
        raise Unfusable("reads one element of a row")
    scores, wanted = _scores_and_target(ops, self, target)
    each = ops("neg", _of_class(ops, scores, wanted))
    return _over_rows(_weighed(ops, scores, each, wanted, weight, ignore_index), reduction)


def _scores_and_target(ops: Ops, self: Operand, target: Operand) -> tuple[Resident, Tensor]:
    scores = ops.draft.resident(tensor_of(self))
    if len(scores.shape) < 2:
        raise Unfusable("takes a single row")
    return scores, tensor_of(target)


def _is_class(ops: Ops, scores: Resident, target: Tensor) -> Operand:
    """Whether an element is the one of its row's class."""
    return ops("eq", ops.draft.position(scores, 1), unsqueezed(target, 1))


def _of_class(ops: Ops, scores: Resident, target: Tensor) -> Resident:
    """The element of each row's class; 0 where the class is none of the row's."""
    return fold(ops, "sum", ops("where", _is_class(ops, scores, target), scores, 0.0), 1, False)


def _weighed(
    ops: Ops, scores: Resident, each: Operand, target: Tensor, weight: Operand | None, ignore_index: int
) -> tuple[Operand, Operand]:
    """Each row's loss times its weight, and the weight: 0 for rows whose class is `ignore_index`."""
    seen = tensor_of(ops("ne", unsqueezed(target, 1), float(ignore_index)))  # beside the scores, dimension by dimension
    counts = squeezed(seen, [1])
    weighs: Operand = ops("where", counts, 1.0, 0.0)
    if weight is not None:
        of_class = ops("where", _is_class(ops, scores, target), ops.per_channel(scores, weight) or weight, 0.0)
        weighs = ops("mul", weighs, fold(ops, "sum", of_class, 1, False))
        each = ops("mul", each, weighs)
    return ops("where", counts, each, 0.0), weighs


def _of_shares(ops: Ops, scores: Tensor, shares: Tensor, weight: Operand | None, label_smoothing: float) -> Operand:
    """Σ share · (log Σ exp(x) - x) where the target gives each class its share."""
    shifted = ops("sub", scores, fold(ops, "max", scores, 1, True))
    total = ops("log", fold(ops, "sum", ops("exp", shifted), 1, True))
    wanted: Operand = shares
    if label_smoothing:
        even = ops("div", label_smoothing, ops.draft.column_count(scores, [1]))
        wanted = ops("add", ops("mul", shares, 1.0 - label_smoothing), even)
    if weight is not None:
        wanted = ops("mul", wanted, ops.per_channel(scores, weight) or weight)
    return fold(ops, "sum", ops("mul", wanted, ops("sub", total, shifted)), 1, False)


def _triplet_margin(
    ops: Ops,
    anchor: Operand,
    positive: Operand,
    negative: Operand,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: int = 1,
) -> Any:
    """max(margin + |a - p| - |a - n|, 0) along the last dimension; with `swap`, n is as near as a or p come to it."""
    near = _distance(ops, anchor, positive, p, eps)
    far = _distance(ops, anchor, negative, p, eps)
    if swap:
        far = ops("minimum", far, _distance(ops, positive, negative, p, eps))
    each = ops("maximum", ops("add", ops("sub", near, far), float(margin)), 0.0)
    return _over_rows((each,), reduction)


def _distance(ops: Ops, first: Operand, second: Operand, order: float, eps: float) -> Operand:
    """The norm of first - second + eps along the last dimension."""
    if [extent.literal for extent in tensor_of(first).shape] != [e.literal for e in tensor_of(second).shape]:
        raise Unfusable("compares tensors of different shapes")
    apart = ops("add", ops("sub", first, second), eps)
    if order == 1:
        return fold(ops, "sum", ops("abs", apart), -1, False)
    if order != 2:
        raise Unfusable(f"takes the distance of order {order:g}")
    return ops("sqrt", fold(ops, "sum", ops("square", apart), -1, False))


ROW_LOSSES: dict[str, Handler] = {
    "cross_entropy_loss": _cross_entropy,
    "nll_loss_nd": _negative_log_likelihood,
    "nll_loss": _negative_log_likelihood,
    "triplet_margin_loss": _triplet_margin,
}
"""ATen's short name to its handler, which returns the rows' losses or a RowLoss."""

BY_CLASS = frozenset({"cross_entropy_loss", "nll_loss_nd", "nll_loss"})
"""Operations that compare the place of an element with a class."""

CLASSES = frozenset({"int64"})
"""What classes may be given as; kernels read them as floats, which hold all the places that rows may have."""
