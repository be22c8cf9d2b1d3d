"""What each sweep over a row computes, and which values are kept in scratch memory instead of computed again.

`cpp_kernels.py` writes the loops from it. A value that several sweeps need is recomputed from the row's loads (the
row is in cache) unless that costs more than `keep_from`, about the price of a store and a load.
"""

from dataclasses import dataclass
from math import prod

from everforge.agents.builtin.moments import moment_pairs
from everforge.agents.builtin.plan import ColumnCount, Constant, KernelRegion, Load, Pointwise, Reduce, Scan

_COSTS = {
    **{"exp": 12, "expm1": 16, "log": 20, "log1p": 26, "tanh": 18, "erf": 30, "sigmoid": 16},
    **{"sin": 100, "cos": 100, "pow": 150, "div": 6, "reciprocal": 6, "sqrt": 8, "rsqrt": 12},
}
"""Vector instructions of one operation, roughly; those not listed take 1."""


@dataclass(frozen=True)
class Sweep:
    """One pass over the columns: `computed` varying values in order, `folds` and `kept` numbers among them."""

    computed: tuple[int, ...]
    folds: tuple[int, ...]
    stores: tuple[int, ...]  # positions in the region's stores
    kept: tuple[int, ...]
    fetched: tuple[int, ...]  # values read back from scratch memory
    moments: tuple[tuple[int, int], ...] = ()  # sums of squared distances folded with the sum of their mean


# Floats of a row from which on sweeping it once saves more than it costs: a quarter of a core's L2, which usually has
# 1 MiB. A shorter row is read again from there.
_WIDE = 1 << 16
_PIECE = 1 << 10  # inner columns below which folding piece by piece costs more than it saves


def scheduled(region: KernelRegion, keep_from: int) -> tuple[Sweep, ...]:
    """The sweeps of a region in order; a sweep may be empty."""
    return _Schedule(region, keep_from).sweeps()


def levels(region: KernelRegion) -> tuple[int, ...]:
    """For each value the sweep that first knows it; a variance that is folded with its mean comes with that."""
    pairs = joint_moments(region)
    level: list[int] = []
    for number, value in enumerate(region.values):
        match value:
            case Pointwise():
                level.append(max((level[arg] for arg in value.args), default=0))
            case Reduce():
                level.append(level[pairs[number]] if number in pairs else level[value.arg] + 1)
            case Scan():
                level.append(level[value.arg])
            case _:
                level.append(0)
    return tuple(level)


def joint_moments(region: KernelRegion) -> dict[int, int]:
    """Squared distances from a mean that are summed in the mean's sweep, each with the number of the mean's sum."""
    columns = [size.literal for size in region.domain[region.row_axes :]]
    if not columns or prod(columns) < _WIDE or columns[-1] < _PIECE:
        return {}
    if any(isinstance(value, Scan) for value in region.values):
        return {}  # a piece is walked twice, and a running fold only once
    return moment_pairs(region)


class _Schedule:
    def __init__(self, region: KernelRegion, keep_from: int) -> None:
        self.region = region
        self.keep_from = keep_from
        self.level = levels(region)
        self.pairs = joint_moments(region)
        self.varies = region.varies_in_row()
        self.count = 1 + max(
            [self.level[store.value] for store in region.stores if not store.per_row]
            + [self._read_in(number) for number, value in enumerate(region.values) if isinstance(value, Reduce)]
            + [0]
        )
        self.kept: dict[int, int] = {}  # value to the sweep that first computes it
        self.first: dict[int, int] = {}

    def sweeps(self) -> tuple[Sweep, ...]:
        closures = [self._closure(number) for number in range(self.count)]
        found = []
        for number, (computed, fetched) in enumerate(closures):
            kept = tuple(value for value, first in self.kept.items() if first == number)
            folds = tuple(
                i
                for i, value in enumerate(self.region.values)
                if isinstance(value, Reduce) and self._read_in(i) == number and i not in self.pairs
            )
            stores = tuple(i for i, store in enumerate(self.region.stores) if self._stored_in(i, number))
            moments = tuple(pair for pair in self.pairs.items() if pair[1] in folds)
            found.append(Sweep(tuple(sorted(computed)), folds, stores, kept, tuple(sorted(fetched)), moments))
        return tuple(found)

    def _read_in(self, number: int) -> int:
        """The sweep that folds a Reduce."""
        return self.level[number] - 1

    def _stored_in(self, index: int, number: int) -> bool:
        store = self.region.stores[index]
        return not store.per_row and self.level[store.value] == number

    def _targets(self, number: int) -> list[int]:
        """What a sweep must have: operands of its folds, its stores, its running folds."""
        values = self.region.values
        reduces = [(i, v) for i, v in enumerate(values) if isinstance(v, Reduce) and i not in self.pairs]
        folded = [v.arg for i, v in reduces if self._read_in(i) == number]
        running = [i for i, v in enumerate(values) if isinstance(v, Scan) and self.level[i] == number]
        stored = [store.value for i, store in enumerate(self.region.stores) if self._stored_in(i, number)]
        return folded + running + stored

    def _closure(self, number: int) -> tuple[set[int], set[int]]:
        """Varying values a sweep computes, and those it reads from scratch memory."""
        computed: set[int] = set()
        fetched: set[int] = set()
        waiting = self._targets(number)
        while waiting:
            value = waiting.pop()
            if not self.varies[value] or value in computed or value in fetched:
                continue
            if value in self.first and (value in self.kept or self._worth_keeping(value)):
                self.kept.setdefault(value, self.first[value])
                fetched.add(value)
                continue
            computed.add(value)
            self.first.setdefault(value, number)
            waiting.extend(self._operands(value))
        return computed, fetched

    def _operands(self, number: int) -> tuple[int, ...]:
        value = self.region.values[number]
        if isinstance(value, Pointwise):
            return value.args
        return (value.arg,) if isinstance(value, Scan) else ()

    def _worth_keeping(self, number: int) -> bool:
        return isinstance(self.region.values[number], Scan) or self._cost(number) >= self.keep_from

    def _cost(self, number: int) -> int:
        """Instructions to compute a value again from loads and what is kept."""
        value = self.region.values[number]
        if not self.varies[number] or number in self.kept or isinstance(value, Load | Constant | ColumnCount):
            return 0
        if isinstance(value, Scan):
            return 1000  # only a sweep in order could make it again
        own = _COSTS.get(value.op, 1) if isinstance(value, Pointwise) else 1
        return own + sum(self._cost(arg) for arg in self._operands(number))
