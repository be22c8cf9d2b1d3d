"""Whether a plan made from one variant of a task serves another; `generator.py` picks its plan by it."""

from collections.abc import Mapping
from math import prod
from typing import Any

from everforge.agents.builtin.plan import Constant, KernelRegion, MatmulRegion, Plan, Pooled, Size, TorchStep
from everforge.agents.builtin.planner import Unplannable, plan_graph
from everforge.model.graph import TaskGraph


def mismatch(plan: Plan, graph: TaskGraph) -> str | None:
    """Why `plan` would not compute `graph`, or None if it would: same steps, and every extent comes out right."""
    try:
        other = plan_graph(graph, plan.abilities, plan.rewrites)
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
    return None if _numbers(plan, shapes) == _numbers(other, shapes) else "its shapes give other numbers"


def _numbers(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> list[Any]:
    """What the steps compute with beside tensors, under these shapes."""
    found: list[Any] = []
    for step in plan.steps:
        if isinstance(step, TorchStep):
            found.append((step.op, _resolved(step.args, shapes), _resolved(step.kwargs, shapes)))
        if isinstance(step, MatmulRegion):
            found.append((step.lhs_transposed, step.rhs_transposed, step.batched, step.triangle, step.diagonal))
            found.append([layout.order for layout in step.layouts or ()])
        region = step.epilogue if isinstance(step, MatmulRegion) else step
        if isinstance(region, KernelRegion):
            found += [value for value in region.values if isinstance(value, Constant)]
            found += [value.windows for value in region.values if isinstance(value, Pooled)]
    return found


def _resolved(value: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    if isinstance(value, tuple | list):
        return [_resolved(item, shapes) for item in value]
    return extent(value, shapes) if isinstance(value, Size) else value


def extent(size: Size, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """An extent under other shapes of the buffers it is computed from."""
    return prod(shapes[buffer][dimension] for buffer, dimension in size.factors) * size.times // size.over
