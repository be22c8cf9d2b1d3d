"""What a row program folds over its rows: in which sweep, and the Triton lines that do it.

`triton_rows.py` and `triton_split.py` write their kernels around it, and `triton_space.py` asks how often a row is
read. A maximum and the sum of exponentials over it share a sweep (online softmax, Milakov and Gimelshein 2018), and so
do a sum and the sum of squared distances from its mean (Welford 1962; parts joined as in Chan, Golub, LeVeque 1979).
"""

import math
from dataclasses import dataclass

from everforge.agents.builtin.moments import moment_pairs
from everforge.agents.builtin.plan import Constant, KernelRegion, Pointwise, Reduce, Scan, Store
from everforge.agents.builtin.triton_values import ValueTexts, needed

IDENTITY = {
    **{"sum": "0.0", "prod": "1.0", "max": 'float("-inf")', "min": 'float("inf")'},
    **{"argmax": 'float("-inf")', "argmin": 'float("inf")'},
}
POSITIONS = ("argmax", "argmin")
_FIRST = {"argmax": "_first_max({0}, {1})", "argmin": "_first_min({0}, {1})"}
_BEATS = {"argmax": ">", "argmin": "<"}
_FOLD = {
    "sum": "tl.sum({0}, axis=1, keep_dims=True)",
    "prod": "tl.reduce({0}, 1, _multiply, keep_dims=True)",
    "max": "_row_max({0})",
    "min": "_row_min({0})",
}
_COMBINE = {
    "sum": "{0} + {1}",
    "prod": "{0} * {1}",
    "max": "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "min": "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
}


@dataclass(frozen=True)
class Counts:
    """How many elements each place of an accumulator has seen, and all of them together, as texts."""

    each: str
    total: str


SWEPT_COUNTS = Counts("((COLUMNS - tl.arange(0, BLOCK) + BLOCK - 1) // BLOCK)[None, :].to(tl.float32)", "COLUMNS")


class RowFolds:
    """The folds of one region.

    `online` are sums that share a sweep with the maximum or sum they depend on, each with that one's number.
    """

    def __init__(self, region: KernelRegion) -> None:
        self.region = region
        self.varies = region.varies_in_row()
        self.online = _softmax_pairs(region) | moment_pairs(region)
        self.sweep = _sweeps(region, self.online)
        self.live = needed(region, [store.value for store in region.stores])

    def is_fold(self, number: int) -> bool:
        """Whether a value is a Reduce."""
        return isinstance(self.region.values[number], Reduce)

    def read_in(self, number: int) -> int:
        """The sweep during which a Reduce reads its operand."""
        return self.sweep[number] - 1

    def last_sweep(self) -> int:
        """The last sweep that has work inside a row."""
        ends = [self.sweep[store.value] for store in element_stores(self.region)]
        ends += [self.read_in(number) for number in self.live if self.is_fold(number)]
        return max(ends, default=0)

    def operand_of(self, number: int) -> int:
        """What must be known of an element to fold it; an online sum needs what its maximum needs."""
        return self._reduce(self.online.get(number, number)).arg

    def op_of(self, number: int) -> str:
        """The name of a fold's operation. Raises ValueError for a value that folds nothing."""
        return self._reduce(number).op

    def is_position(self, number: int) -> bool:
        """Whether a value is the position of an extremum."""
        return self._reduce(number).op in POSITIONS

    def accumulators(self, number: int, first: str = "") -> list[str]:
        """The start of an accumulator: one for each place in a block, folded after the loop.

        A position starts at the first column of its place, `first` + the place: there it stays where nothing is
        larger than -inf. Places past the row's end never win, since every other place has a lower column.
        """
        op = self._reduce(number).op
        lines = [f"folded_{number} = tl.full((TILE_ROWS, BLOCK), {IDENTITY[op]}, tl.float32)"]
        if op in POSITIONS:
            columns = f"{first}tl.arange(0, BLOCK)[None, :]"
            lines.append(f"place_{number} = {columns} + tl.zeros((TILE_ROWS, 1), tl.int32)")
        return lines

    def accumulate(self, number: int, texts: ValueTexts) -> list[str]:
        """Lines that take a block into its accumulator; an online sum is taken in with what it depends on."""
        value = self._reduce(number)
        if number in self.online:
            return []
        operand = texts.operand(value.arg)
        alive = f"tl.where(live, {operand}, {IDENTITY[value.op]})"
        if value.op in POSITIONS:
            return _take_position(number, alive, _BEATS[value.op])
        follower = next((total for total, leader in self.online.items() if leader == number), None)
        if follower is None:
            return [f"folded_{number} = {_COMBINE[value.op].format(f'folded_{number}', alive)}"]
        if value.op == "sum":
            return _take_moments(number, follower, operand)
        peak, total = f"folded_{number}", f"folded_{follower}"
        alive_name, ahead, scale = f"alive_{number}", f"ahead_{number}", f"scale_{number}"
        # One exponential an element: it shrinks the sum where the element is a new maximum, else the element.
        # Places that saw only -inf count those; the fold multiplies their sums by exp(-inf).
        return [
            f"{alive_name} = {alive}",
            f"{ahead} = {alive_name} - {peak}",
            f"{scale} = tl.where({alive_name} == {peak}, 1.0, tl.exp2(tl.abs({ahead}) * -1.4426950408889634))",
            f"{total} = tl.where({ahead} > 0.0, {total} * {scale} + 1.0, {total} + {scale})",
            f"{peak} = {_COMBINE['max'].format(peak, alive_name)}",
        ]

    def finish(self, number: int, texts: ValueTexts, counts: Counts) -> list[str]:
        """Lines that fold an accumulator into the value of the row."""
        folded, name = f"folded_{number}", texts.operand(number)
        lines = []
        if self.is_position(number):
            return [f"{name} = {_FIRST[self._reduce(number).op].format(folded, f'place_{number}')}"]
        if self.has_moments(number):
            # The accumulator holds the mean of each place.
            lines.append(f"seen_{number} = {counts.each}")
            folded = f"{folded} * seen_{number}"
        elif number in self.online and self.has_moments(self.online[number]):
            total = self.online[number]
            mean = f"{texts.operand(total)} / {counts.total}"
            lines.append(f"apart_{number} = folded_{total} - {mean}")
            folded = f"{folded} + apart_{number} * apart_{number} * seen_{total}"
        elif number in self.online:
            top = self.online[number]
            peak = texts.operand(top)
            infinite = f'tl.abs({peak}) == float("inf")' if self.guards(number) else f'{peak} == float("-inf")'
            lines.append(f"base_{number} = tl.where({infinite}, 0.0, {peak})")
            folded = f"{folded} * tl.exp(folded_{top} - base_{number})"
        return [*lines, f"{name} = {self._fold(number).format(folded)}"]

    def whole(self, number: int, texts: ValueTexts) -> str:
        """The line that folds a value held for the whole row."""
        value = self._reduce(number)
        alive = f"tl.where(live, {texts.operand(value.arg)}, {IDENTITY[value.op]})"
        if value.op in POSITIONS:
            return f"{texts.operand(number)} = {_FIRST[value.op].format(alive, 'column')}"
        return f"{texts.operand(number)} = {self._fold(number).format(alive)}"

    def has_moments(self, number: int) -> bool:
        """Whether a sum is kept as means, because squared distances from its mean are summed in the same sweep."""
        return number in self.online.values() and self._reduce(number).op == "sum"

    def guards(self, total: int) -> bool:
        """Whether the exponents of an online sum are distances from its maximum, or from 0 where that is infinite."""
        power = self.region.values[self._reduce(total).arg]
        shifted = self.region.values[power.args[0]] if isinstance(power, Pointwise) else None
        return isinstance(shifted, Pointwise) and shifted.args[1] != self.online[total]

    def _fold(self, number: int) -> str:
        """How a row's places become one value; a maximum need not look for NaN where its sum's finds it."""
        if self._reduce(number).op == "max" and number in self.online.values() and self._sum_shows_nan(number):
            return "tl.max({0}, axis=1, keep_dims=True)"
        return _FOLD[self._reduce(number).op]

    def _sum_shows_nan(self, peak: int) -> bool:
        """Whether all that is stored and depends on a maximum depends on its sum of exponentials too."""
        total = next(total for total, top in self.online.items() if top == peak)
        made_of = [needed(self.region, [store.value]) for store in self.region.stores]
        return all(total in values for values in made_of if peak in values)

    def _reduce(self, number: int) -> Reduce:
        value = self.region.values[number]
        if not isinstance(value, Reduce):
            raise ValueError(f"value {number} of {self.region.name} folds nothing")
        return value


def element_stores(region: KernelRegion) -> list[Store]:
    """Stores of a value for each element."""
    return [store for store in region.stores if not store.per_row]


def _take_position(number: int, alive: str, beats: str) -> list[str]:
    """The first of equals stays, and the first NaN beats all others."""
    held, here = f"folded_{number}", f"alive_{number}"
    return [
        f"{here} = {alive}",
        f"beats_{number} = ({here} {beats} {held}) | (({here} != {here}) & ({held} == {held}))",
        f"{held} = tl.where(beats_{number}, {here}, {held})",
        f"place_{number} = tl.where(beats_{number}, column, place_{number})",
    ]


def _take_moments(total: int, squares: int, operand: str) -> list[str]:
    """Welford's step for every place: all places of a block have seen as many elements, so one division serves them.

    A mean that is infinite stays so unless the opposite infinity or NaN comes, as a sum would: the distance of an
    element from it would make it NaN, where PyTorch has an infinite mean beside a variance that is NaN.
    """
    mean, ahead, step = f"folded_{total}", f"ahead_{total}", f"step_{total}"
    return [
        f"{ahead} = tl.where(live, {operand} - {mean}, 0.0)",
        f"{step} = {ahead} * (1.0 / (start // BLOCK + 1))",
        f'{mean} = {mean} + tl.where(live & (tl.abs({mean}) == float("inf")), {operand}, {step})',
        f"folded_{squares} = folded_{squares} + {ahead} * tl.where(live, {operand} - {mean}, 0.0)",
    ]


def _softmax_pairs(region: KernelRegion) -> dict[int, int]:
    """Sums of exp(x - max of x), each with the number of its maximum."""
    pairs: dict[int, int] = {}
    for number, value in enumerate(region.values):
        if not isinstance(value, Reduce) or value.op != "sum":
            continue
        power = region.values[value.arg]
        shifted = region.values[power.args[0]] if isinstance(power, Pointwise) and power.op == "exp" else None
        if not isinstance(shifted, Pointwise) or shifted.op != "sub":
            continue
        peak = _unguarded(region, shifted.args[1])
        top = region.values[peak]
        is_own = isinstance(top, Reduce) and top.op == "max" and top.arg == shifted.args[0]
        if is_own and peak not in pairs.values():
            pairs[number] = peak
    return pairs


def _unguarded(region: KernelRegion, number: int) -> int:
    """The value behind `where(|value| == inf, 0, value)`, as log-sum-exp takes its maximum; else the number itself."""
    guarded = region.values[number]
    if not isinstance(guarded, Pointwise) or guarded.op != "where":
        return number
    test, zero = (region.values[arg] for arg in guarded.args[:2])
    if zero != Constant(0.0) or not isinstance(test, Pointwise) or test.op != "eq":
        return number
    size, bound = (region.values[arg] for arg in test.args)
    is_infinite = bound == Constant(math.inf) and size == Pointwise("abs", (guarded.args[2],))
    return guarded.args[2] if is_infinite else number


def _sweeps(region: KernelRegion, online: dict[int, int]) -> list[int]:
    """Sweeps as `KernelRegion.sweeps` counts them, an online sum known together with its maximum."""
    sweep: list[int] = []
    for number, value in enumerate(region.values):
        match value:
            case Pointwise():
                sweep.append(max((sweep[arg] for arg in value.args), default=0))
            case Reduce():
                sweep.append(sweep[online[number]] if number in online else sweep[value.arg] + 1)
            case Scan():
                sweep.append(sweep[value.arg])
            case _:
                sweep.append(0)
    return sweep
