"""Row programs in Triton: softmax, log-sum-exp, norms and scans with whatever stands before and after them.

`triton_emitter.py` calls it. A row that fits stays in registers (`<name>_whole`: one read, one write). A wider row is
swept several times in blocks (`<name>_swept`): one sweep for each level of reductions, the next one reading mostly
from L2; a maximum and the sum of exponentials over it share a sweep (online softmax, Milakov and Gimelshein 2018).
"""

import math
from dataclasses import dataclass

from everforge.agents.builtin.plan import Constant, KernelRegion, Pointwise, Reduce, Scan, Store
from everforge.agents.builtin.triton_domain import Domain
from everforge.agents.builtin.triton_values import TILE_MASKS, ValueTexts, needed

_IDENTITY = {"sum": "0.0", "prod": "1.0", "max": 'float("-inf")', "min": 'float("inf")'}
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
_SCAN = {"sum": "tl.cumsum({0}, axis=1)", "prod": "tl.cumprod({0}, axis=1)"}


@dataclass(frozen=True)
class KernelText:
    """A kernel's body and the compile-time sizes its index expressions need, as positions of merged axes."""

    body: list[str]
    sizes: tuple[int, ...]
    domain: Domain


def whole_row_body(region: KernelRegion) -> KernelText:
    """The body that keeps whole rows in registers: a tile of TILE_ROWS rows and BLOCK ≥ COLUMNS columns."""
    domain = Domain.of(region, region.row_axes)
    texts, folds = ValueTexts(region, domain, TILE_MASKS), RowFolds(region)
    lines = [*_row_lines(), "column = tl.arange(0, BLOCK)[None, :]", *_mask_lines()]
    for number in needed(region, [store.value for store in region.stores]):
        value = region.values[number]
        if isinstance(value, Reduce):
            lines.append(folds.whole(number, texts))
        elif isinstance(value, Scan):
            alive = f"tl.where(live, {texts.operand(value.arg)}, {_IDENTITY[value.op]})"
            lines.append(f"{texts.operand(number)} = {_SCAN[value.op].format(alive)}")
        else:
            lines += [line for line in [texts.line(number)] if line]
    lines += [texts.store(store.buffer, store.value, store.per_row) for store in region.stores]
    return KernelText(lines, tuple(sorted(domain.sizes_used)), domain)


def swept_row_body(region: KernelRegion) -> KernelText:
    """The body that sweeps rows of any width in blocks of BLOCK columns."""
    sweeper = _Sweeper(region)
    return KernelText(sweeper.lines(), tuple(sorted(sweeper.domain.sizes_used)), sweeper.domain)


class RowFolds:
    """What is folded over a row, in which sweep, and the lines that do it. Also used by `triton_split.py`."""

    def __init__(self, region: KernelRegion) -> None:
        self.region = region
        self.varies = region.varies_in_row()
        self.online = _online_pairs(region)
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

    def accumulator(self, number: int) -> str:
        """The start of an accumulator: one for each place in a block, folded after the loop."""
        return f"folded_{number} = tl.full((TILE_ROWS, BLOCK), {_IDENTITY[self._reduce(number).op]}, tl.float32)"

    def accumulate(self, number: int, texts: ValueTexts) -> list[str]:
        """Lines that take a block into its accumulator; an online sum is taken in with its maximum."""
        value = self._reduce(number)
        if number in self.online:
            return []
        operand = texts.operand(value.arg)
        alive = f"tl.where(live, {operand}, {_IDENTITY[value.op]})"
        follower = next((total for total, top in self.online.items() if top == number), None)
        if follower is None:
            return [f"folded_{number} = {_COMBINE[value.op].format(f'folded_{number}', alive)}"]
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

    def finish(self, number: int, texts: ValueTexts) -> list[str]:
        """Lines that fold an accumulator into the value of the row."""
        folded, name = f"folded_{number}", texts.operand(number)
        lines = []
        if number in self.online:
            top = self.online[number]
            peak = texts.operand(top)
            infinite = f'tl.abs({peak}) == float("inf")' if self.guards(number) else f'{peak} == float("-inf")'
            lines.append(f"base_{number} = tl.where({infinite}, 0.0, {peak})")
            folded = f"{folded} * tl.exp(folded_{top} - base_{number})"
        return [*lines, f"{name} = {self._fold(number).format(folded)}"]

    def whole(self, number: int, texts: ValueTexts) -> str:
        """The line that folds a value held for the whole row."""
        value = self._reduce(number)
        alive = f"tl.where(live, {texts.operand(value.arg)}, {_IDENTITY[value.op]})"
        return f"{texts.operand(number)} = {self._fold(number).format(alive)}"

    def guards(self, total: int) -> bool:
        """Whether the exponents of an online sum are distances from its maximum, or from 0 where that is infinite."""
        power = self.region.values[self._reduce(total).arg]
        shifted = self.region.values[power.args[0]] if isinstance(power, Pointwise) else None
        return isinstance(shifted, Pointwise) and shifted.args[1] != self.online[total]

    def _fold(self, number: int) -> str:
        """How a row's places become one value; a maximum need not look for NaN where its sum's finds it."""
        if number in self.online.values() and self._sum_shows_nan(number):
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


class _Sweeper:
    """Writes the sweeps: values that do not vary along a row between the loops, the others inside."""

    def __init__(self, region: KernelRegion) -> None:
        self.region = region
        self.folds = RowFolds(region)
        self.domain = Domain.of(region, region.row_axes)
        self.texts = ValueTexts(region, self.domain, TILE_MASKS)
        self.outside: set[int] = set()

    def lines(self) -> list[str]:
        lines = _row_lines()
        lines.append("row_live = row < ROWS")
        last = self.folds.last_sweep()
        for sweep in range(last + 1):
            lines += self._between(sweep)
            lines += self._loop(sweep)
        lines += self._between(last + 1)
        lines += [self.texts.store(s.buffer, s.value, True) for s in self.region.stores if s.per_row]
        return lines

    def _between(self, sweep: int) -> list[str]:
        """Values of the row that are known once the sweeps before this one are over."""
        lines = []
        for number in self.folds.live:
            if self.folds.varies[number] or self.folds.sweep[number] != sweep or self.folds.is_fold(number):
                continue
            self.outside.add(number)
            lines += [line for line in [self.texts.line(number)] if line]
        return lines

    def _loop(self, sweep: int) -> list[str]:
        folds = [n for n in self.folds.live if self.folds.is_fold(n) and self.folds.read_in(n) == sweep]
        stores = [store for store in element_stores(self.region) if self.folds.sweep[store.value] == sweep]
        if not folds and not stores:
            return []
        targets = [store.value for store in stores] + [self.folds.operand_of(number) for number in folds]
        inner = needed(self.region, targets, frozenset(self.outside))
        body = ["column = start + tl.arange(0, BLOCK)[None, :]", "column_live = column < COLUMNS"]
        body.append("live = row_live & column_live")
        for number in inner:
            body += self._inside(number)
        for number in folds:
            body += self.folds.accumulate(number, self.texts)
        body += [self.texts.store(store.buffer, store.value, False) for store in stores]
        opening = [self.folds.accumulator(number) for number in folds]
        opening += [line for number in inner for line in self._carry_start(number)]
        closing = [line for number in folds for line in self.folds.finish(number, self.texts)]
        self.outside.update(folds)
        return [*opening, "for start in range(0, COLUMNS, BLOCK):", *indented(body), *closing]

    def _inside(self, number: int) -> list[str]:
        value = self.region.values[number]
        if not isinstance(value, Scan):
            return [line for line in [self.texts.line(number)] if line]
        name = self.texts.operand(number)
        alive = f"tl.where(live, {self.texts.operand(value.arg)}, {_IDENTITY[value.op]})"
        combined = f"{_SCAN[value.op].format(alive)} {'+' if value.op == 'sum' else '*'} carry_{number}"
        # The carry is read off the last column: `carry += tl.sum(…)` beside another use of the carry
        # trips an assertion in Triton 3.6 (OptimizeThreadLocality).
        last = f"tl.where(column == start + BLOCK - 1, {name}, 0.0)"
        return [f"{name} = {combined}", f"carry_{number} = tl.sum({last}, axis=1, keep_dims=True)"]

    def _carry_start(self, number: int) -> list[str]:
        value = self.region.values[number]
        if not isinstance(value, Scan):
            return []
        return [f"carry_{number} = tl.full((TILE_ROWS, 1), {_IDENTITY[value.op]}, tl.float32)"]


def element_stores(region: KernelRegion) -> list[Store]:
    """Stores of a value for each element."""
    return [store for store in region.stores if not store.per_row]


def _online_pairs(region: KernelRegion) -> dict[int, int]:
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


def _row_lines() -> list[str]:
    return ["row = (tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS))[:, None]"]


def _mask_lines() -> list[str]:
    return ["row_live = row < ROWS", "column_live = column < COLUMNS", "live = row_live & column_live"]


def indented(lines: list[str]) -> list[str]:
    """Lines one level further in."""
    return [f"    {line}" for line in lines]
