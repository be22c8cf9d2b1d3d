"""Which sums of a row program are squared distances from a mean of the same row, so that one sweep can fold both.

`triton_folds.py` and `cpp_schedule.py` ask; each has its own way to fold a mean and the distances from it at once
(Welford 1962; parts joined as in Chan, Golub, LeVeque 1979).
"""

from everforge.agents.builtin.plan import ColumnCount, KernelRegion, Pointwise, Reduce, Scan


def moment_pairs(region: KernelRegion) -> dict[int, int]:
    """Sums of squared distances from a mean, each with the number of the sum that the mean is made of."""
    pairs: dict[int, int] = {}
    if any(isinstance(value, Scan) and value.is_reverse for value in region.values):
        return pairs  # blocks are taken from the last on, and the last may be short
    for number in range(len(region.values)):
        total = _mean_under(region, number)
        if total is not None and total not in pairs.values():
            pairs[number] = total
    return pairs


def _mean_under(region: KernelRegion, number: int) -> int | None:
    """The sum in the mean from which value `number` sums squared distances; None if it is no such sum."""
    value = region.values[number]
    square = region.values[value.arg] if isinstance(value, Reduce) and value.op == "sum" else None
    if not isinstance(square, Pointwise) or square.op != "square":
        return None
    apart = region.values[square.args[0]]
    if not isinstance(apart, Pointwise) or apart.op != "sub":
        return None
    mean = region.values[apart.args[1]]
    if not isinstance(mean, Pointwise) or mean.op != "div":
        return None
    total, count = (region.values[arg] for arg in mean.args)
    is_own = isinstance(total, Reduce) and total.op == "sum" and total.arg == apart.args[0]
    return mean.args[0] if is_own and isinstance(count, ColumnCount) else None
