"""Row programs in Triton: softmax, log-sum-exp, norms and scans with whatever stands before and after them.

`triton_launch.py` calls it. A row that fits stays in registers (`<name>_whole`: one read, one write). A wider row is
swept several times in blocks (`<name>_swept`): one sweep for each level of reductions, the next one reading mostly
from L2. Rows may lie across memory (`triton_strided.py`); the bodies are the same.
"""

from dataclasses import dataclass

from everforge.agents.builtin.plan import KernelRegion, Reduce, Scan
from everforge.agents.builtin.triton_domain import Domain
from everforge.agents.builtin.triton_folds import IDENTITY, SWEPT_COUNTS, RowFolds, element_stores
from everforge.agents.builtin.triton_strided import opening_lines, rows_domain
from everforge.agents.builtin.triton_values import TILE_MASKS, ValueTexts, needed

_SCAN = {"sum": "tl.cumsum({0}, axis=1{1})", "prod": "tl.cumprod({0}, axis=1{1})"}


@dataclass(frozen=True)
class KernelText:
    """A kernel's body and the compile-time sizes its index expressions need, as positions of merged axes."""

    body: list[str]
    sizes: tuple[int, ...]
    domain: Domain


def whole_row_body(region: KernelRegion) -> KernelText:
    """The body that keeps whole rows in registers: a tile of TILE_ROWS rows and BLOCK ≥ COLUMNS columns."""
    domain = rows_domain(region)
    texts, folds = ValueTexts(region, domain, TILE_MASKS), RowFolds(region)
    lines = [*opening_lines(domain), "column = tl.arange(0, BLOCK)[None, :]"]
    lines += ["column_live = column < COLUMNS", "live = row_live & column_live"]
    for number in needed(region, [store.value for store in region.stores]):
        value = region.values[number]
        if isinstance(value, Reduce):
            lines.append(folds.whole(number, texts))
        elif isinstance(value, Scan):
            lines.append(f"{texts.operand(number)} = {_running(value, texts)}")
        else:
            lines += [line for line in [texts.line(number)] if line]
    lines += [texts.store(store) for store in region.stores]
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
        self.domain = rows_domain(region)
        self.texts = ValueTexts(region, self.domain, TILE_MASKS)
        self.outside: set[int] = set()

    def lines(self) -> list[str]:
        lines = opening_lines(self.domain)
        last = self.folds.last_sweep()
        for sweep in range(last + 1):
            lines += self._between(sweep)
            lines += self._loop(sweep)
        lines += self._between(last + 1)
        lines += [self.texts.store(store) for store in self.region.stores if store.per_row]
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
        loop, body = self._block_lines()
        body += ["column_live = column < COLUMNS", "live = row_live & column_live"]
        for number in inner:
            body += self._inside(number)
        for number in folds:
            body += self.folds.accumulate(number, self.texts)
        body += [self.texts.store(store) for store in stores]
        opening = [line for number in folds for line in self.folds.accumulators(number)]
        opening += [line for number in inner for line in self._carry_start(number)]
        closing = [line for number in folds for line in self.folds.finish(number, self.texts, SWEPT_COUNTS)]
        self.outside.update(folds)
        return [*opening, loop, *indented(body), *closing]

    def _block_lines(self) -> tuple[str, list[str]]:
        """The loop over blocks and the columns of one; from the last to the first where a running fold starts there."""
        if not any(isinstance(value, Scan) and value.is_reverse for value in self.region.values):
            return "for start in range(0, COLUMNS, BLOCK):", ["column = start + tl.arange(0, BLOCK)[None, :]"]
        start = "start = (tl.cdiv(COLUMNS, BLOCK) - 1 - block) * BLOCK"
        lines = [start, "column = start + tl.arange(0, BLOCK)[None, :]"]
        return "for block in range(0, tl.cdiv(COLUMNS, BLOCK)):", lines

    def _inside(self, number: int) -> list[str]:
        value = self.region.values[number]
        if not isinstance(value, Scan):
            return [line for line in [self.texts.line(number)] if line]
        name = self.texts.operand(number)
        combined = f"{_running(value, self.texts)} {'+' if value.op == 'sum' else '*'} carry_{number}"
        # The carry is read off the last column: `carry += tl.sum(…)` beside another use of the carry
        # trips an assertion in Triton 3.6 (OptimizeThreadLocality).
        last = f"tl.where(column == start{'' if value.is_reverse else ' + BLOCK - 1'}, {name}, 0.0)"
        return [f"{name} = {combined}", f"carry_{number} = tl.sum({last}, axis=1, keep_dims=True)"]

    def _carry_start(self, number: int) -> list[str]:
        value = self.region.values[number]
        if not isinstance(value, Scan):
            return []
        return [f"carry_{number} = tl.full((TILE_ROWS, 1), {IDENTITY[value.op]}, tl.float32)"]


def _running(value: Scan, texts: ValueTexts) -> str:
    """The running fold of a tile along its columns."""
    alive = f"tl.where(live, {texts.operand(value.arg)}, {IDENTITY[value.op]})"
    return _SCAN[value.op].format(alive, ", reverse=True" if value.is_reverse else "")


def indented(lines: list[str]) -> list[str]:
    """Lines one level further in."""
    return [f"    {line}" for line in lines]
