"""Whether a plan computes the task at shapes other than those it was traced at, and what its candidate does if not.

A traced graph holds as plain numbers what the reference computed from shapes: `x.shape[0]` in a division, √d in an
attention, the pieces of a split. Such a plan is bound to the shapes of the shown variants; elsewhere its candidate
runs the reference's own operations. `generator.py` asks; `module_text.py` writes the guard.
"""

import ast
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from everforge.agents.builtin.plan import Bound, KernelRegion, Plan, Size, TorchStep
from everforge.agents.builtin.variants import mismatch
from everforge.agents.builtin.windows import WINDOWS
from everforge.agents.builtin.workspace import short_name
from everforge.model.graph import GraphNode, TaskGraph

# Extents below this cannot be told from numbers that mean themselves, such as the 2 of a square.
_SMALLEST = 3
_LEAVES = ("input", "parameter", "buffer")
_ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div", "true_divide", "floor_divide", "remainder", "fmod", "pow"})
# Operations whose integers are sizes or places, which a reference often computes from shapes.
_SIZED = frozenset(
    {
        *("split", "split_with_sizes", "chunk", "tensor_split", "slice", "narrow", "select", "unfold", "expand"),
        *("repeat", "tile", "roll", "pad", "constant_pad_nd", "arange", "full", "zeros", "ones", "eye", "linspace"),
        *("one_hot", "view", "reshape", "unflatten", "as_strided", "tril_indices", "triu_indices"),
    }
)
# A slice without an end has the largest integer there.
_NO_END = 2**62


def bound_of(plan: Plan, graph: TaskGraph, shown: Sequence[TaskGraph], source: str) -> Bound | None:
    """The shapes a plan made from `graph` is bound to, with the reference for others; None if it serves any shape.

    `source` is the task file. A plan that some shown variant does not share is bound, too.
    """
    misfits = [other for other in shown if mismatch(plan, other) is not None]
    if not misfits and next(shape_numbers(plan, graph), None) is None:
        return None
    shapes = {_shapes(other) for other in (graph, *shown) if other not in misfits}
    return Bound(tuple(sorted(shapes)), reference_text(source))


def shape_numbers(plan: Plan, graph: TaskGraph) -> Iterator[str]:
    """What in a plan may follow from the shapes it was traced at, one line for each."""
    extents = _extents(graph)
    for node in graph.nodes:
        for number in _scalars(node):
            if _follows(number, extents):
                yield f"{node.op} computes with {number:g}"
    for step in plan.steps:
        if isinstance(step, KernelRegion):
            yield from (f"{name} takes whole windows" for name in step.fuses if name in WINDOWS)
        if isinstance(step, TorchStep) and not step.reason.startswith("a view"):
            yield from _literal_sizes(step, extents)


def _shapes(graph: TaskGraph) -> tuple[tuple[int, ...], ...]:
    return tuple(node.outputs[0].shape for node in graph.nodes if node.op == "input" and node.outputs)


def _extents(graph: TaskGraph) -> frozenset[int]:
    """Extents of inputs and parameters, and products of neighbouring ones."""
    found: set[int] = set()
    for node in graph.nodes:
        shape = node.outputs[0].shape if node.op in _LEAVES and node.outputs else ()
        found |= {math.prod(shape[i:j]) for i in range(len(shape)) for j in range(i + 1, len(shape) + 1)}
    return frozenset(extent for extent in found if extent >= _SMALLEST)


def _scalars(node: GraphNode) -> Iterator[float]:
    """Numbers a node computes with: all of an arithmetic one, of others those with a fraction (a scale)."""
    if node.op in _LEAVES or node.op == "getitem":
        return
    arithmetic = node.op == "constant" or short_name(node.op) in _ARITHMETIC
    for number in _numbers([*node.args, *node.kwargs.values()]):
        if arithmetic or not float(number).is_integer():
            yield float(number)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        if "float" not in value or not math.isfinite(float(value["float"])):
            return
        yield float(value["float"])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield value


def _follows(number: float, extents: frozenset[int]) -> bool:
    """Whether a number is an extent n, 1/n, or for a divisor n of an extent √n or 1/√n."""
    size = abs(number)
    if size == 0:
        return False
    for whole in (size, 1 / size):
        if _near_integer(whole) and round(whole) in extents:
            return True
        if not _near_integer(whole) and _is_root(whole, extents):
            return True
    return False


def _is_root(number: float, extents: frozenset[int]) -> bool:
    """Whether the square is a divisor of an extent, as that of √(width / heads) is."""
    square = number * number
    divides = _near_integer(square) and round(square) >= _SMALLEST
    return divides and any(extent % round(square) == 0 for extent in extents)


def _near_integer(number: float) -> bool:
    return 1 <= number < _NO_END and abs(number - round(number)) <= 1e-6 * number


def _literal_sizes(step: TorchStep, extents: frozenset[int]) -> Iterator[str]:
    """Sizes a step of PyTorch's has as plain numbers."""
    sized = short_name(step.op) in _SIZED
    for literal in _integers([*step.args, *(value for _, value in step.kwargs)]):
        if (sized and 2 <= literal < _NO_END) or literal in extents:
            yield f"{step.op} has the size {literal}"


def _integers(values: Iterable[Any]) -> Iterator[int]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _integers(value)
        elif isinstance(value, Size) and not value.factors:
            yield value.times // value.over
        elif isinstance(value, int) and not isinstance(value, bool):
            yield value


def reference_text(source: str) -> str:
    """What a task file's Model needs of it: the class, and the imports, constants and functions it names.

    Constants have the file's values, also where a variant overrides one that Model itself reads.
    """
    body = ast.parse(source).body
    needed, kept = {"Model"}, set[int]()
    while True:
        found = {i for i, statement in enumerate(body) if i not in kept and _defined(statement) & needed}
        if not found:
            break
        kept |= found
        needed |= {node.id for i in found for node in ast.walk(body[i]) if isinstance(node, ast.Name)}
    return ast.unparse(ast.Module([statement for i, statement in enumerate(body) if i in kept], [])) + "\n"


def _defined(statement: ast.stmt) -> set[str]:
    """The names a statement of a module gives a meaning to."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and _is_set(node)}
    return set()


def _is_set(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)
