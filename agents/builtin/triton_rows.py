"""Row programs in Triton: softmax, log-sum-exp, norms and scans with whatever stands before and after them.

`triton_emitter.py` calls it. A row that fits stays in registers (`<name>_whole`: one read, one write). A wider row is
swept several times in blocks (`<name>_swept`): one sweep for each level of reductions, the next one reading mostly
from L2.
"""

from dataclasses import dataclass

from everforge.agents.builtin.plan import KernelRegion, Reduce, Scan
from everforge.agents.builtin.triton_domain import Domain
from everforge.agents.builtin.triton_folds import IDENTITY, RowFolds, element_stores
from everforge.agents.builtin.triton_values import TILE_MASKS, ValueTexts, needed

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
            alive = f"tl.where(live, {texts.operand(value.arg)}, {IDENTITY[value.op]})"
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
        alive = f"tl.where(live, {self.texts.operand(value.arg)}, {IDENTITY[value.op]})"
        combined = f"{_SCAN[value.op].format(alive)} {'+' if value.op == 'sum' else '*'} carry_{number}"
        # The carry is read off the last column: `carry += tl.sum(…)` beside another use of the carry
        # trips an assertion in Triton 3.6 (OptimizeThreadLocality).
        last = f"tl.where(column == start + BLOCK - 1, {name}, 0.0)"
        return [f"{name} = {combined}", f"carry_{number} = tl.sum({last}, axis=1, keep_dims=True)"]

    def _carry_start(self, number: int) -> list[str]:
        value = self.region.values[number]
        if not isinstance(value, Scan):
            return []
        return [f"carry_{number} = tl.full((TILE_ROWS, 1), {IDENTITY[value.op]}, tl.float32)"]


def _row_lines() -> list[str]:
    return ["row = (tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS))[:, None]"]


def _mask_lines() -> list[str]:
    return ["row_live = row < ROWS", "column_live = column < COLUMNS", "live = row_live & column_live"]


def indented(lines: list[str]) -> list[str]:
    """Lines one level further in."""
    return [f"    {line}" for line in lines]
