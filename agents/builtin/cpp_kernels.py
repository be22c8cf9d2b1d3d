"""A `KernelRegion` as one C++ function; `cpp_emitter.py` calls it for every region of a plan.

A row program sweeps over its row: each sweep computes what its folds and stores need, between sweeps the row's own
numbers are computed. Columns that are several axes (channels × pixels of a group) become two nested loops.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from everforge.agents.builtin.cpp_schedule import Sweep, levels, scheduled
from everforge.agents.builtin.cpp_values import expression, number_text
from everforge.agents.builtin.cpp_windows import pooled_text
from everforge.agents.builtin.plan import (
    ColumnCount,
    Constant,
    KernelRegion,
    Load,
    Pointwise,
    Pooled,
    Position,
    Reduce,
    Scan,
)

_NEUTRAL = {"sum": "0.f", "prod": "1.f", "max": "-INFINITY", "min": "INFINITY"}
_COMBINED = {
    "sum": "a + b",
    "prod": "a * b",
    "max": "b > a || b != b ? b : a",
    "min": "b < a || b != b ? b : a",
}
_FOLDED = {"sum": "{0} + {1}", "prod": "{0} * {1}", "max": "maximum({0}, {1})", "min": "minimum({0}, {1})"}


@dataclass(frozen=True)
class Tuning:
    """What can be chosen for a region: accumulators, columns per piece, when to keep values, how to store."""

    unroll: int = 4
    chunk: int = 8192
    keep_from: int = 4
    streams: bool = False


def region_source(region: KernelRegion, tuning: Tuning, booleans: frozenset[str] = frozenset()) -> str:
    """The function `extern "C" void <name>(void* const* at, const int64_t* n, int threads)`.

    Buffers hold floats, those named in `booleans` a byte for each element.
    """
    lines = "\n".join(f"  {line}" for line in _Function(region, tuning, booleans).lines())
    head = f'extern "C" void {region.name}(void* const* at, const int64_t* n, int threads) {{'
    return f"\n// {', '.join(region.fuses)}\n{head}\n{lines}\n}}\n"


class _Function:
    def __init__(self, region: KernelRegion, tuning: Tuning, booleans: frozenset[str]) -> None:
        self.region = region
        self.booleans = booleans
        self.tuning = tuning
        self.varies = region.varies_in_row()
        self.level = levels(region)
        self.sweeps = scheduled(region, tuning.keep_from)
        self.kept = [value for sweep in self.sweeps for value in sweep.kept]
        self.column_axes = tuple(range(region.row_axes, len(region.domain)))
        self.inner = self.column_axes[-1] if self.column_axes else None

    # the frame --------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        written = {store.buffer for store in self.region.stores}
        for number, buffer in enumerate(self.region.buffers()):
            kind = "float*" if buffer in written else "const uint8_t*" if buffer in self.booleans else "const float*"
            yield f"{kind} {buffer} = ({kind})at[{number}];"
        rows = self._product(range(self.region.row_axes))
        yield f"const int64_t rows = {rows}, columns = {self._product(self.column_axes)};"
        for store in self.region.stores:
            if not store.per_row:
                yield f"expect_large({store.buffer}, rows * columns);"
        body = self._pieces() if self.region.is_pointwise else self._row_program()
        yield from body

    def _pieces(self) -> Iterator[str]:
        chunk = self.tuning.chunk
        yield f"for_pieces<{chunk}>(rows, columns, threads, [&](int64_t row, int64_t begin, int64_t end) LAMBDA {{"
        yield from _indented(self._row_indices())
        yield from _indented(self._row_values(0))
        yield from _indented(self._walk(self.sweeps[0], "begin", "end"))
        yield "});"

    def _row_program(self) -> Iterator[str]:
        shares = "false" if any(isinstance(value, Scan) for value in self.region.values) else "true"
        kept = len(self.kept)
        yield f"for_rows(rows, columns, {kept}, {shares}, threads, [&](int64_t row, Crew& crew) LAMBDA {{"
        for place, kept_value in enumerate(self.kept):
            yield f"  float* kept_v{kept_value} = crew.scratch + {place} * columns;"
        yield from _indented(self._row_indices())
        for number in range(max(len(self.sweeps), 1 + max(self.level))):
            yield from _indented(self._row_values(number))
            if number < len(self.sweeps):
                yield from _indented(self._sweep(number))
        for store in self.region.stores:
            if store.per_row:
                value = self._scalar(store.value)
                yield f"  if (crew.member == 0) {store.buffer}[row] = {value};"
        yield "});"

    def _row_indices(self) -> Iterator[str]:
        """The row's place along each row axis, where a load needs one by itself."""
        rows = range(self.region.row_axes)
        if any(self._needs_indices(load) for load in self.region.loads()) and len(rows) > 1:
            for axis in rows:
                inner = self._product(range(axis + 1, self.region.row_axes))
                wrap = f" % n[{axis}]" if axis else ""
                yield f"const int64_t i{axis} = row / ({inner}){wrap};"
        elif len(rows) == 1 and any(self._needs_indices(load) for load in self.region.loads()):
            yield "const int64_t i0 = row;"

    def _needs_indices(self, load: Load) -> bool:
        leading = load.axes[: self.region.row_axes]
        return isinstance(load, Pooled) or leading != tuple(range(self.region.row_axes))

    def _product(self, axes: range | tuple[int, ...]) -> str:
        return " * ".join(f"n[{axis}]" for axis in axes) or "1"

    # numbers of a row -------------------------------------------------------------------------------------

    def _row_values(self, number: int) -> Iterator[str]:
        """Values of this sweep's level that are the same for all columns."""
        for index, value in enumerate(self.region.values):
            if self.varies[index] or self.level[index] != number:
                continue
            if isinstance(value, Pooled):
                yield f"const float v{index} = ({self._pooled(value)})[0];"
            elif isinstance(value, Load):
                yield f"const float v{index} = {value.buffer}[{self._offset(value, ())}];"
            elif isinstance(value, ColumnCount):
                yield f"const float v{index} = (float)columns;"
            elif isinstance(value, Pointwise):
                yield f"const float v{index} = {self._row_expression(value)};"

    def _row_expression(self, value: Pointwise) -> str:
        """A number of the row; a mean divides the sum before it is rounded, so that equal elements have no spread."""
        first = value.args[0]
        if value.op == "div" and isinstance(self.region.values[first], Reduce):
            return f"(float)(exact_v{first} / {self._scalar(value.args[1])})"
        return f"({expression(value, self.region.values, self._vector)})[0]"

    def _scalar(self, index: int) -> str:
        value = self.region.values[index]
        return number_text(value.number) if isinstance(value, Constant) else f"v{index}"

    def _vector(self, index: int) -> str:
        return f"v{index}" if self.varies[index] else f"splat({self._scalar(index)})"

    # sweeps -----------------------------------------------------------------------------------------------

    def _sweep(self, number: int) -> Iterator[str]:
        sweep = self.sweeps[number]
        if not sweep.folds and not sweep.stores and not sweep.kept and not self._scans(sweep):
            return
        yield f"// sweep {number + 1}: {self._purpose(sweep)}"
        for index in sweep.folds:
            yield f"double total_v{index} = {_NEUTRAL[self._fold(index).op]};"
        for squares, _ in sweep.moments:
            yield f"Moments moments_v{squares};"
        for index in self._scans(sweep):
            yield f"double carry_v{index} = {'0' if self._scan(index).op == 'sum' else '1'};"
        yield from self._column_loops(sweep)
        for index in sweep.folds:
            combine = f"[](double a, double b) {{ return {_COMBINED[self._fold(index).op]}; }}"
            yield f"const double exact_v{index} = crew.combined(total_v{index}, {combine});"
            yield f"const float v{index} = (float)exact_v{index};"
        for squares, total in sweep.moments:
            mine = f"moments_v{squares}.around(exact_v{total} / columns)"
            yield f"const double exact_v{squares} = crew.combined({mine}, [](double a, double b) {{ return a + b; }});"
            yield f"const float v{squares} = (float)exact_v{squares};"

    def _purpose(self, sweep: Sweep) -> str:
        folds = [f"{self._fold(i).op} of v{self._fold(i).arg} is v{i}" for i in sweep.folds]
        folds += [f"v{squares} is summed about the mean from v{total}" for squares, total in sweep.moments]
        return ", ".join([*folds, *(f"v{self.region.stores[i].value} is stored" for i in sweep.stores)]) or "running"

    def _fold(self, index: int) -> Reduce:
        value = self.region.values[index]
        if not isinstance(value, Reduce):
            raise TypeError(f"value {index} of {self.region.name} is no fold")
        return value

    def _scan(self, index: int) -> Scan:
        value = self.region.values[index]
        if not isinstance(value, Scan):
            raise TypeError(f"value {index} of {self.region.name} is no running fold")
        return value

    def _scans(self, sweep: Sweep) -> list[int]:
        return [index for index in sweep.computed if isinstance(self.region.values[index], Scan)]

    def _column_loops(self, sweep: Sweep) -> Iterator[str]:
        """Pieces of a row (so that long sums are folded in double now and then), or outer and inner columns."""
        if sweep.moments:
            yield from self._piecewise(sweep)
            return
        parts = [f"Floats part_v{i}[{self.tuning.unroll}];" for i in sweep.folds]
        starts = [f"for (Floats& part : part_v{i}) part = splat({_NEUTRAL[self._fold(i).op]});" for i in sweep.folds]
        ends = [self._folded(i) for i in sweep.folds]
        outer = self.column_axes[:-1]
        if outer:
            yield from (*parts, *starts)
            yield f"for (int64_t o = crew.member; o < {self._product(outer)}; o += crew.members) {{"
            yield from _indented(self._walk(sweep, "0", f"n[{self.inner}]"))
            yield from ("}", *ends)
            return
        chunk = self.tuning.chunk
        yield f"for (int64_t begin = crew.member * {chunk}; begin < columns; begin += crew.members * {chunk}) {{"
        yield f"  const int64_t end = begin + {chunk} < columns ? begin + {chunk} : columns;"
        yield from _indented(iter((*parts, *starts)))
        yield from _indented(self._walk(sweep, "begin", "end"))
        yield from _indented(iter(ends))
        yield "}"

    def _piecewise(self, sweep: Sweep) -> Iterator[str]:
        """Pieces that are walked twice while L1 holds them: for the folds, then for the distances from their mean."""
        chunk, outer = self.tuning.chunk, self.column_axes[:-1]
        if outer:
            yield f"for (int64_t o = crew.member; o < {self._product(outer)}; o += crew.members)"
            first, step, width = "0", str(chunk), f"n[{self.inner}]"
        else:
            first, step, width = f"crew.member * {chunk}", f"crew.members * {chunk}", "columns"
        yield f"for (int64_t begin = {first}; begin < {width}; begin += {step}) {{"
        yield f"  const int64_t end = begin + {chunk} < {width} ? begin + {chunk} : {width};"
        for index in sweep.folds:
            yield f"  Floats part_v{index}[{self.tuning.unroll}];"
            yield f"  for (Floats& part : part_v{index}) part = splat({_NEUTRAL[self._fold(index).op]});"
        yield from _indented(self._walk(sweep, "begin", "end"))
        means = {total for _, total in sweep.moments}
        for index in sweep.folds:
            yield f"  {self._here(index) if index in means else self._folded(index)}"
        for squares, total in sweep.moments:
            yield from _indented(self._distances(sweep, squares, total))
        yield "}"

    def _here(self, index: int) -> str:
        return f"const double here_v{index} = folded_sum(part_v{index}); total_v{index} += here_v{index};"

    def _distances(self, sweep: Sweep, squares: int, total: int) -> Iterator[str]:
        """The walk over a piece that sums squared distances from the piece's mean."""
        operand = self._fold(total).arg
        kept = replace(sweep, fetched=(*sweep.fetched, *sweep.kept))
        yield f"const Floats middle_v{squares} = splat((float)(here_v{total} / (end - begin)));"
        yield f"Floats part_v{squares}[{self.tuning.unroll}] = {{}};"
        yield f"walk<{self.tuning.unroll}>(begin, end, [&](auto how, int64_t j, int part) LAMBDA {{"
        for index in self._made_of(operand, set(kept.fetched)):
            yield f"  const Floats v{index} = {self._computed(kept, index)};"
        yield f"  const Floats apart = how.keep({self._vector(operand)} - middle_v{squares}, 0.f);"
        yield f"  part_v{squares}[part] += apart * apart;"
        yield "});"
        distances = f"folded_sum(part_v{squares}), middle_v{squares}[0]"
        yield f"moments_v{squares}.add(end - begin, here_v{total}, {distances});"

    def _made_of(self, number: int, held: set[int]) -> list[int]:
        """Varying values that a value is computed from, itself included; those `held` are made of nothing."""
        found: set[int] = set()
        waiting = [number]
        while waiting:
            index = waiting.pop()
            value = self.region.values[index]
            if self.varies[index] and index not in found:
                found.add(index)
                waiting += value.args if isinstance(value, Pointwise) and index not in held else ()
        return sorted(found)

    def _folded(self, index: int) -> str:
        op = self._fold(index).op
        if op in ("sum", "prod"):
            return f"total_v{index} {'+' if op == 'sum' else '*'}= folded_{op}(part_v{index});"
        other = f"folded_{op}(part_v{index})"
        sign = ">" if op == "max" else "<"
        return f"if (const float here = {other}; here {sign} total_v{index} || here != here) total_v{index} = here;"

    # the loop body ----------------------------------------------------------------------------------------

    def _walk(self, sweep: Sweep, begin: str, end: str) -> Iterator[str]:
        if len(self.column_axes) > 1:
            for position, axis in enumerate(self.column_axes[:-1]):
                inner = self._product(self.column_axes[position + 1 : -1])
                yield f"const int64_t i{axis} = o / ({inner}){f' % n[{axis}]' if position else ''};"
        unroll = self.tuning.unroll
        part = "int part" if sweep.folds else "int"
        yield f"walk<{unroll}>({begin}, {end}, [&](auto how, int64_t j, {part}) LAMBDA {{"
        for index in sorted({*sweep.computed, *sweep.fetched}):
            yield f"  const Floats v{index} = {self._computed(sweep, index)};"
        for index in sweep.kept:
            yield f"  how.store(kept_v{index} + {self._column()}, v{index});"
        for index in sweep.folds:
            fold = self._fold(index)
            held, operand = f"part_v{index}[part]", self._vector(fold.arg)
            kept = f"how.keep({operand}, {_NEUTRAL[fold.op]})"
            yield f"  {held} = {_FOLDED[fold.op].format(held, kept)};"
        for position in sweep.stores:
            store = self.region.stores[position]
            way = "stream" if self.tuning.streams else "store"
            yield f"  how.{way}({store.buffer} + row * columns + {self._column()}, {self._vector(store.value)});"
        yield "});"

    def _column(self) -> str:
        return "j" if len(self.column_axes) < 2 else f"o * n[{self.inner}] + j"

    def _computed(self, sweep: Sweep, index: int) -> str:
        value = self.region.values[index]
        if index in sweep.fetched:
            return f"how.load(kept_v{index} + {self._column()})"
        if isinstance(value, Load):
            return self._load(value)
        if isinstance(value, Position):
            return f"places({self._column()})"
        if isinstance(value, Scan):
            neutral = _NEUTRAL[value.op]
            return f"running_{value.op}(how.keep({self._vector(value.arg)}, {neutral}), carry_v{index})"
        if isinstance(value, Pointwise):
            return expression(value, self.region.values, self._vector)
        raise TypeError(f"value {index} of {self.region.name} does not vary in a row")

    def _pooled(self, value: Pooled) -> str:
        """The fold under a window at each place; places go along the innermost columns, or are the same for all."""
        leading = self._place(value.leading())
        starts = [self._place(window.axes) for window in value.windows]
        moves = self.inner is not None and self.inner in value.axes
        return pooled_text(value, leading, starts, moves)

    def _place(self, axes: tuple[int, ...]) -> str:
        """The position along axes that lie together in memory."""
        terms = []
        for axis in axes:
            index = "j" if axis == self.inner else f"i{axis}"
            inside = self._product(axes[axes.index(axis) + 1 :])
            terms.append(index if inside == "1" else f"{index} * ({inside})")
        return " + ".join(terms) or "0"

    def _load(self, load: Load) -> str:
        if isinstance(load, Pooled):
            return self._pooled(load)
        outer = self._offset(load, self.column_axes[:-1])
        if self.inner not in load.axes:
            return f"splat({load.buffer}[{outer}])"
        stride = self._product(load.axes[load.axes.index(self.inner) + 1 :])
        if stride == "1":
            return f"how.load({load.buffer} + {outer} + j)"
        return f"how.gather({load.buffer} + {outer} + j * ({stride}), {stride})"

    def _offset(self, load: Load, outer_columns: tuple[int, ...]) -> str:
        """Where a load begins in its buffer for this row and these outer columns."""
        rows = tuple(range(self.region.row_axes))
        terms = []
        if rows and load.axes[: len(rows)] == rows:
            terms.append(f"row * ({self._product(load.axes[len(rows) :])})")
            rest = load.axes[len(rows) :]
        else:
            rest = load.axes
        for axis in rest:
            if axis in rows or axis in outer_columns:
                terms.append(f"i{axis} * ({self._product(load.axes[load.axes.index(axis) + 1 :])})")
        return " + ".join(terms) or "0"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)
