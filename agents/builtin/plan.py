"""The plan: what `planner.py` makes of a traced graph and both emitters (C++ and Triton) turn into source.

A `Plan` is an ordered list of steps with named buffers between them. Three kinds of step exist:

`KernelRegion`
    One fused kernel over a *domain*, a list of axes with run-time sizes. The first `row_axes` axes number
    the rows, the others the columns of a row. `values` is an SSA list: a value names earlier values by
    their position. A `Load` reads a contiguous buffer whose dimensions are the domain axes in `axes`,
    outermost first; a domain axis that is missing there is broadcast. So over the domain (N, C, H·W):
    `axes=(0, 1, 2)` is the full tensor, `(1,)` a value for each channel, `(2, 1)` would be a transposed
    read. A `Reduce` folds all columns of a row into one value of the row; a `Scan` runs along the columns,
    in order. Everything else is pointwise; a value that depends on no column is computed once for each row.
    `Store` writes a value for each element or one for each row, contiguous in domain order unless it names
    another order of the axes. Columns need not be innermost in memory: a sum over the rows of a matrix (N, C)
    has the domain (C, N) and loads with `axes=(1, 0)`. A region with neither Reduce nor Scan is pointwise:
    where its rows end is only a hint (loads that are constant along a row can be hoisted), there may be one
    row of everything.

`MatmulRegion`
    product = lhs @ rhs (+ bias), then an optional pointwise `epilogue` region whose Loads of `product` are
    the accumulators. `product` itself is stored only where `keeps_product`. An emitter that cannot fuse
    runs torch's product and then the epilogue as a kernel of its own.

`TorchStep`
    What was not understood or not worth fusing: an ATen call, with the reason.

Sizes: the plan comes from one traced variant, yet a candidate must serve other shapes of the same
structure, so a `Size` says how to compute an extent from the shapes of buffers at run time; `literal` is
its value when traced. Kernels compute in float32, whatever the dtypes of the buffers they read and store; the
position of an extremum is an integer, which can only be stored.

Pointwise operations (arity in parentheses) follow PyTorch for NaN and infinities: maximum and minimum give
NaN if either operand is NaN; comparisons give 1.0 or 0.0; `where(c, a, b)` takes a where c is not 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from everforge.agents.builtin.abilities import BASIC, Abilities

POINTWISE_ARITY = {
    "add": 2, "sub": 2, "mul": 2, "div": 2, "maximum": 2, "minimum": 2, "pow": 2,
    "neg": 1, "abs": 1, "reciprocal": 1, "sqrt": 1, "rsqrt": 1, "square": 1,
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "tanh": 1, "erf": 1, "sigmoid": 1, "sin": 1, "cos": 1,
    "floor": 1, "ceil": 1, "sign": 1,
    "lt": 2, "le": 2, "gt": 2, "ge": 2, "eq": 2, "ne": 2, "where": 3, "logical_and": 2, "logical_or": 2,
    "logical_not": 1,
}  # fmt: skip
"""Every operation a `Pointwise` value may name, and its number of operands."""

ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
"""Operations that C++ and Triton write with the same sign between their operands."""

ReduceOp = Literal["sum", "max", "min", "prod", "argmax", "argmin"]
ScanOp = Literal["sum", "prod"]
Triangle = Literal["lower", "upper"]


@dataclass(frozen=True)
class Size:
    """An extent: the product of dimensions of buffers, times `times`, divided (exactly) by `over`."""

    literal: int
    factors: tuple[tuple[str, int], ...] = ()  # (buffer name, dimension); none of them: a constant
    times: int = 1
    over: int = 1

    @staticmethod
    def constant(value: int) -> "Size":
        """An extent that does not depend on any shape."""
        return Size(literal=value, times=value)


@dataclass(frozen=True)
class Buffer:
    """A tensor between steps, contiguous. `name` is an identifier, unique in the plan."""

    name: str
    shape: tuple[Size, ...]
    dtype: str
    origin: Literal["input", "parameter", "buffer", "constant", "temporary"]
    target: str | None = None  # qualified name of a parameter or buffer: `net.0.weight`
    position: int | None = None  # which argument of forward an input is
    values: Any = None  # a constant's elements, as nested lists


@dataclass(frozen=True)
class Load:
    """Reads `buffer`; its dimensions are these domain axes, outermost first; other axes are broadcast."""

    buffer: str
    axes: tuple[int, ...]

    def runs(self) -> tuple[tuple[int, ...], ...]:
        """Its axes in stretches whose neighbours are neighbours in the buffer."""
        return (self.axes,)


@dataclass(frozen=True)
class Window:
    """What is pooled along one dimension: elements `place * stride - padding + tap * dilation` for each of `size` taps.

    `extent` is the buffer's along the dimension; `axes` are the domain's that number the places, none for a single one.
    """

    size: int
    stride: int
    padding: int
    dilation: int
    extent: int
    axes: tuple[int, ...] = ()


PoolOp = Literal["sum", "max", "count"]


@dataclass(frozen=True)
class Pooled(Load):
    """Folds what lies under a window of the buffer at each place; taps outside the buffer do not count.

    `windows` are those of the buffer's last dimensions; `axes` hold their axes too, after those of the dimensions
    before them. max gives NaN if any element is NaN; count is how many taps lie inside.
    """

    op: PoolOp
    windows: tuple[Window, ...]

    def leading(self) -> tuple[int, ...]:
        """The axes of the dimensions that are not pooled."""
        return self.axes[: len(self.axes) - sum(len(window.axes) for window in self.windows)]

    def runs(self) -> tuple[tuple[int, ...], ...]:
        """The dimensions that are not pooled, and each window's places."""
        return (self.leading(), *(window.axes for window in self.windows))


@dataclass(frozen=True)
class Position:
    """The number of an element's column in its row, as a float; rows have no more columns than floats can count."""


@dataclass(frozen=True)
class Constant:
    """A number; may be an infinity or NaN."""

    number: float


@dataclass(frozen=True)
class ColumnCount:
    """How many columns a row has, as a float: what a mean divides by."""


@dataclass(frozen=True)
class Pointwise:
    """`op` (a key of POINTWISE_ARITY) applied to earlier values."""

    op: str
    args: tuple[int, ...]


@dataclass(frozen=True)
class Reduce:
    """Folds value `arg` over all columns of a row; max and min give NaN if any element is NaN.

    argmax and argmin give the column of the first extremum, or of the first NaN if there is one.
    """

    op: ReduceOp
    arg: int


@dataclass(frozen=True)
class Scan:
    """Inclusive running sum or product of value `arg` along the columns of a row, or from its end on."""

    op: ScanOp
    arg: int
    is_reverse: bool = False


Value = Load | Position | Constant | ColumnCount | Pointwise | Reduce | Scan


@dataclass(frozen=True)
class Store:
    """Writes value number `value` to `buffer`: per element of the domain, or once for each row.

    `axes` are the buffer's domain axes, outermost first, where they are not in the domain's own order.
    """

    value: int
    buffer: str
    per_row: bool = False
    axes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class KernelRegion:
    """One fused kernel; see the module's docstring."""

    name: str
    domain: tuple[Size, ...]
    row_axes: int
    values: tuple[Value, ...]
    stores: tuple[Store, ...]
    fuses: tuple[str, ...] = ()  # the reference's operations in it, for the reader

    @property
    def is_pointwise(self) -> bool:
        """Whether no value depends on other elements of its row."""
        return not any(isinstance(value, Reduce | Scan) for value in self.values)

    def varies_in_row(self) -> tuple[bool, ...]:
        """For each value, whether it differs between the columns of one row."""
        varies: list[bool] = []
        for value in self.values:
            match value:
                case Load():
                    varies.append(any(axis >= self.row_axes for axis in value.axes))
                case Pointwise():
                    varies.append(any(varies[arg] for arg in value.args))
                case _:
                    varies.append(isinstance(value, Scan | Position))
        return tuple(varies)

    def sweeps(self) -> tuple[int, ...]:
        """For each value, the sweep over the row in which it can first be known.

        Sweep 0 sees loads alone. A Reduce or Scan of a value of sweep s folds during s; what depends on a
        Reduce is known from sweep s + 1 on. A Scan's running value can be used in the same sweep.
        """
        sweep: list[int] = []
        for value in self.values:
            match value:
                case Pointwise():
                    sweep.append(max((sweep[arg] for arg in value.args), default=0))
                case Reduce():
                    sweep.append(sweep[value.arg] + 1)
                case Scan():
                    sweep.append(sweep[value.arg])
                case _:
                    sweep.append(0)
        return tuple(sweep)

    def loads(self) -> Iterator[Load]:
        """Every load, in order."""
        return (value for value in self.values if isinstance(value, Load))

    def buffers(self) -> tuple[str, ...]:
        """Names of the buffers it reads, then of those it writes, each once."""
        return tuple(dict.fromkeys([*(load.buffer for load in self.loads()), *(s.buffer for s in self.stores)]))

    def pooled_extent(self, buffer: str) -> int:
        """The product of a buffer's extents that are pooled, which no axis of the domain has; 1 where none is."""
        for load in self.loads():
            if load.buffer == buffer and isinstance(load, Pooled):
                return prod(window.extent for window in load.windows)
        return 1

    def axes_of(self, buffer: str) -> tuple[int, ...]:
        """The domain axes along which it takes a buffer to lie."""
        for load in self.loads():
            if load.buffer == buffer:
                return load.leading() if isinstance(load, Pooled) else load.axes
        return self.stored_axes(next(store for store in self.stores if store.buffer == buffer))

    def stored_axes(self, store: Store) -> tuple[int, ...]:
        """The domain axes of what a store writes, outermost first."""
        if store.axes is not None:
            return store.axes
        return tuple(range(self.row_axes if store.per_row else len(self.domain)))


@dataclass(frozen=True)
class Layout:
    """How an operand lies in its buffer: the buffer seen with extents `shape`, its axes taken in `order`.

    `order` names an axis for each dimension of the operand; None is a dimension it is broadcast along.
    """

    shape: tuple[Size, ...]
    order: tuple[int | None, ...]


@dataclass(frozen=True)
class Twin:
    """A second product of the same lhs with another matrix of the same extents, for the same epilogue."""

    rhs: str
    bias: str | None
    product: str


@dataclass(frozen=True)
class MatmulRegion:
    """product = lhs @ rhs (+ bias), then `epilogue`.

    lhs is (…, M, K), or (K, M) where `lhs_transposed`. rhs is (N, K) where `rhs_transposed`, else (K, N); with
    `batched` both carry the same leading dimension: (B, M, K) @ (B, K, N). bias is (N,). The product is (…, M, N).

    With `layouts`, of lhs and of rhs, both are seen with four dimensions however their buffers lie:
    (outer, inner, M, K) @ (outer, inner, K, N), a batch of two levels.

    `triangle` is the part of the product that is not zero: "lower" the elements whose column is at most their row
    plus `diagonal`, "upper" those whose column is at least that. It is taken after the bias, before the epilogue.

    `twin` is never stored: its accumulators and the product's meet in the epilogue (a gate and what it lets through).
    """

    name: str
    lhs: str
    rhs: str
    bias: str | None
    rhs_transposed: bool
    batched: bool
    product: str
    epilogue: KernelRegion | None = None
    keeps_product: bool = True
    fuses: tuple[str, ...] = ()
    lhs_transposed: bool = False
    layouts: tuple[Layout, Layout] | None = None
    triangle: Triangle | None = None
    diagonal: int = 0
    twin: Twin | None = None

    @property
    def products(self) -> tuple[str, ...]:
        """The product and its twin's."""
        return (self.product,) if self.twin is None else (self.product, self.twin.product)

    @property
    def biases(self) -> tuple[str, ...]:
        """The bias and its twin's, as far as there are any."""
        found = (self.bias, self.twin.bias if self.twin is not None else None)
        return tuple(name for name in found if name is not None)


@dataclass(frozen=True)
class BufferArg:
    """An argument of a TorchStep that is a buffer."""

    name: str


@dataclass(frozen=True)
class DeviceOf:
    """An argument of a TorchStep: the device that a buffer is on."""

    name: str


@dataclass(frozen=True)
class TorchStep:
    """An ATen call left to PyTorch: `op` such as `aten.max_pool2d.default`, and why.

    Arguments are BufferArg, DeviceOf, Size, numbers, texts, None, `{"dtype": …}`, and tuples of those. `outputs`
    names one buffer for each tensor the call yields; None is one nobody reads.
    """

    op: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    outputs: tuple[str | None, ...]
    reason: str
    once: bool = False  # needs parameters alone, and is done at load


Step = KernelRegion | MatmulRegion | TorchStep


@dataclass(frozen=True)
class Bound:
    """Shapes of the inputs, in order, that a plan is made for; at others `reference`, source of a Model, is run."""

    shapes: tuple[tuple[tuple[int, ...], ...], ...]
    reference: str


@dataclass(frozen=True)
class Plan:
    """Steps in order of execution. `results` are what forward returns, as a tensor, tuple or list.

    A plan without a `bound` computes the task at any shape.
    """

    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    results: tuple[str, ...]
    structure: str
    input_count: int
    bound: Bound | None = None
    abilities: Abilities = BASIC
    rewrites: tuple[str, ...] = ()  # algebra that made the graph it was planned from

    def buffer(self, name: str) -> Buffer:
        """The buffer of that name. Raises KeyError if the plan has none."""
        for buffer in self.buffers:
            if buffer.name == name:
                return buffer
        raise KeyError(name)


def describe(plan: Plan) -> tuple[str, ...]:
    """One line for each rewrite and each step: what was fused, and what was left to PyTorch and why."""
    return (*(f"algebra: {name}" for name in plan.rewrites), *map(_line, plan.steps))


def _line(step: Step) -> str:
    match step:
        case KernelRegion():
            kind = "pointwise" if step.is_pointwise else "row program"
            return f"{step.name}: {kind} fuses {', '.join(step.fuses)}"
        case MatmulRegion():
            tail = f" with epilogue {', '.join(step.epilogue.fuses)}" if step.epilogue else ""
            return f"{step.name}: matrix product {', '.join(step.fuses)}{tail}"
        case TorchStep() if step.once:
            return f"at load: {step.op}"
        case TorchStep():
            return f"left to PyTorch: {step.op}: {step.reason}"
