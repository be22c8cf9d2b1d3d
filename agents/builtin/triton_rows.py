"""Row programs in Triton: softmax, log-sum-exp, norms and scans with whatever stands before and after them.

`triton_emitter.py` calls it. A row that fits stays in registers (`<name>_whole`: one read, one write). A wider row is
swept several times in blocks (`<name>_swept`): one sweep for each level of reductions, the next one reading mostly
from L2; a maximum and the sum of exponentials over it share a sweep (online softmax, Milakov and Gimelshein 2018).
"""

from dataclasses import dataclass

from everforge.agents.builtin.plan import KernelRegion, Pointwise, Reduce, Scan, Store
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
    texts = ValueTexts(region, domain, TILE_MASKS)
    lines = [*_row_lines(), "column = tl.arange(0, BLOCK)[None, :]", *_mask_lines()]
    for number in needed(region, [store.value for store in region.stores]):
        value = region.values[number]
        if isinstance(value, Reduce):
            lines.append(f"{texts.operand(number)} = {_folded(value, texts.operand(value.arg))}")
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


class _Sweeper:
    """Writes the sweeps: values that do not vary along a row between the loops, the others inside."""

    def __init__(self, region: KernelRegion) -> None:
        self.region = region
        self.domain = Domain.of(region, region.row_axes)
        self.texts = ValueTexts(region, self.domain, TILE_MASKS)
        self.varies = region.varies_in_row()
        self.online = _online_pairs(region)
        self.sweep = _sweeps(region, self.online)
        self.live = needed(region, [store.value for store in region.stores])
        self.outside: set[int] = set()

    def lines(self) -> list[str]:
        lines = _row_lines()
        lines.append("row_live = row < ROWS")
        for sweep in range(self._last_sweep() + 1):
            lines += self._between(sweep)
            lines += self._loop(sweep)
        lines += self._between(self._last_sweep() + 1)
        lines += [self.texts.store(s.buffer, s.value, True) for s in self.region.stores if s.per_row]
        return lines

    def _last_sweep(self) -> int:
        """The last sweep that has work inside a row."""
        ends = [self.sweep[store.value] for store in self._element_stores()]
        ends += [self._read_in(number) for number in self.live if self._folds(number)]
        return max(ends, default=0)

    def _read_in(self, number: int) -> int:
        """The sweep during which a Reduce reads its operand."""
        return self.sweep[number] - 1

    def _folds(self, number: int) -> bool:
        return isinstance(self.region.values[number], Reduce)

    def _element_stores(self) -> list[Store]:
        return [store for store in self.region.stores if not store.per_row]

    def _between(self, sweep: int) -> list[str]:
        """Values of the row that are known once the sweeps before this one are over."""
        lines = []
        for number in self.live:
            if self.varies[number] or self.sweep[number] != sweep or self._folds(number):
                continue
            self.outside.add(number)
            lines += [line for line in [self.texts.line(number)] if line]
        return lines

    def _loop(self, sweep: int) -> list[str]:
        folds = [n for n in self.live if self._folds(n) and self._read_in(n) == sweep]
        stores = [store for store in self._element_stores() if self.sweep[store.value] == sweep]
        inner = self._inner_values(folds, stores)
        if not folds and not stores:
            return []
        scans = [n for n in inner if isinstance(self.region.values[n], Scan)]
        body = ["column = start + tl.arange(0, BLOCK)[None, :]", "column_live = column < COLUMNS"]
        body.append("live = row_live & column_live")
        for number in inner:
            body += self._inside(number)
        for number in folds:
            body += self._accumulate(number)
        body += [self.texts.store(store.buffer, store.value, False) for store in stores]
        opening = [line for number in folds for line in self._accumulators(number)]
        opening += [self._carry_start(number) for number in scans]
        closing = [line for number in folds for line in self._finish(number)]
        self.outside.update(folds)
        return [*opening, "for start in range(0, COLUMNS, BLOCK):", *_indented(body), *closing]

    def _inner_values(self, folds: list[int], stores: list[Store]) -> list[int]:
        targets = [store.value for store in stores]
        for number in folds:
            pair = self.online.get(number)
            value = self.region.values[pair if pair is not None else number]
            targets += [value.arg] if isinstance(value, Reduce) else []
        return needed(self.region, targets, frozenset(self.outside))

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

    def _carry_start(self, number: int) -> str:
        value = self.region.values[number]
        start = _IDENTITY[value.op] if isinstance(value, Scan) else "0.0"
        return f"carry_{number} = tl.full((TILE_ROWS, 1), {start}, tl.float32)"

    def _accumulators(self, number: int) -> list[str]:
        value = self.region.values[number]
        start = _IDENTITY[value.op] if isinstance(value, Reduce) else "0.0"
        return [f"folded_{number} = tl.full((TILE_ROWS, BLOCK), {start}, tl.float32)"]

    def _accumulate(self, number: int) -> list[str]:
        value = self.region.values[number]
        if not isinstance(value, Reduce) or number in self.online:
            return []
        alive = f"tl.where(live, {self.texts.operand(value.arg)}, {_IDENTITY[value.op]})"
        follower = next((s for s, m in self.online.items() if m == number), None)
        if follower is None:
            return [f"folded_{number} = {_COMBINE[value.op].format(f'folded_{number}', alive)}"]
        old, total, new = f"folded_{number}", f"folded_{follower}", f"raised_{number}"
        return [
            f"{new} = {_COMBINE['max'].format(old, alive)}",
            f'base_{number} = tl.where({new} == float("-inf"), 0.0, {new})',
            f"{total} = {total} * tl.exp({old} - base_{number}) + "
            f"tl.where(live, tl.exp({self.texts.operand(value.arg)} - base_{number}), 0.0)",
            f"{old} = {new}",
        ]

    def _finish(self, number: int) -> list[str]:
        value = self.region.values[number]
        if not isinstance(value, Reduce):
            return []
        folded, name = f"folded_{number}", self.texts.operand(number)
        if number in self.online:
            top = self.online[number]
            base = f'tl.where({self.texts.operand(top)} == float("-inf"), 0.0, {self.texts.operand(top)})'
            folded = f"folded_{number} * tl.exp(folded_{top} - {base})"
        return [f"{name} = {_FOLD[value.op].format(folded)}"]


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
        top = region.values[shifted.args[1]]
        is_own = isinstance(top, Reduce) and top.op == "max" and top.arg == shifted.args[0]
        if is_own and shifted.args[1] not in pairs.values():
            pairs[number] = shifted.args[1]
    return pairs


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


def _folded(value: Reduce, operand: str) -> str:
    return _FOLD[value.op].format(f"tl.where(live, {operand}, {_IDENTITY[value.op]})")


def _row_lines() -> list[str]:
    return ["row = (tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS))[:, None]"]


def _mask_lines() -> list[str]:
    return ["row_live = row < ROWS", "column_live = column < COLUMNS", "live = row_live & column_live"]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
