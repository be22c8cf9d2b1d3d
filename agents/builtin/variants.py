"""Whether a plan made from one variant of a task serves another; `generator.py` picks its plan by it."""

from collections.abc import Mapping
from math import prod

from everforge.agents.builtin.plan import Plan, Size
from everforge.agents.builtin.planner import Unplannable, plan_graph
from everforge.model.graph import TaskGraph


def mismatch(plan: Plan, graph: TaskGraph) -> str | None:
    """Why `plan` would not compute `graph`, or None if it would: same steps, and every extent comes out right."""
    try:
        other = plan_graph(graph)
    except Unplannable as refusal:
        return str(refusal)
    if [type(step) for step in plan.steps] != [type(step) for step in other.steps]:
        return "its shapes fuse into other steps"
    shapes = {buffer.name: tuple(size.literal for size in buffer.shape) for buffer in other.buffers}
    for buffer in plan.buffers:
        if buffer.name not in shapes or len(buffer.shape) != len(shapes[buffer.name]):
            return f"{buffer.name} has another number of dimensions"
        for size, literal in zip(buffer.shape, shapes[buffer.name], strict=True):
            if extent(size, shapes) != literal:
                return f"{buffer.name} has an extent {literal} that does not follow from its inputs' shapes"
    return None


def extent(size: Size, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """An extent under other shapes of the buffers it is computed from."""
    return prod(shapes[buffer][dimension] for buffer, dimension in size.factors) * size.times // size.over
