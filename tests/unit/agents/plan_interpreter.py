"""An interpreter of plans in float64, for tests of the planner: a plan must compute its reference.

Test files load it by path, since tests are no package.
"""

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from everforge.agents.builtin import plan as ir
from everforge.agents.builtin.abilities import BASIC, Abilities
from everforge.agents.builtin.planner import plan_graph
from everforge.agents.builtin.variants import extent
from everforge.model.graph import TaskGraph
from everforge.runners.facts.tracing import trace_task

Function = Callable[..., Any]


class Reference(nn.Module):
    """A reference made of a function of its modules and inputs."""

    def __init__(self, function: Function, *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(self.parts, *inputs)


def traced(function: Function, *inputs: torch.Tensor, parts: tuple[nn.Module, ...] = ()) -> TaskGraph:
    graph = trace_task(Reference(function, *parts).eval(), inputs, "v", [])
    assert isinstance(graph, TaskGraph), graph
    return graph


POINTWISE: dict[str, Callable[..., torch.Tensor]] = {
    **{name: getattr(operator, name) for name in ("add", "sub", "mul", "neg", "abs")},
    **{name: getattr(torch, name) for name in ("maximum", "minimum", "pow", "reciprocal", "sqrt", "rsqrt")},
    **{name: getattr(torch, name) for name in ("exp", "expm1", "log", "log1p", "tanh", "erf", "sigmoid", "sin")},
    **{name: getattr(torch, name) for name in ("cos", "floor", "ceil", "sign", "square", "div")},
    **{name: getattr(operator, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")},
    "where": lambda condition, a, b: torch.where(condition != 0, a, b),
    "logical_and": lambda a, b: (a != 0) & (b != 0),
    "logical_or": lambda a, b: (a != 0) | (b != 0),
    "logical_not": lambda a: a == 0,
}
FOLDS: dict[str, Callable[..., torch.Tensor]] = {"sum": torch.sum, "max": torch.amax, "min": torch.amin}
POSITIONS: dict[str, Callable[..., torch.Tensor]] = {"argmax": torch.argmax, "argmin": torch.argmin}


def run_plan(plan: ir.Plan, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The plan's results in float64, step by step."""
    state = {name: value.double() for name, value in model.state_dict().items()}
    held: dict[str, torch.Tensor] = {}
    for buffer in plan.buffers:
        if buffer.position is not None:
            given = inputs[buffer.position]
            held[buffer.name] = given.double() if given.is_floating_point() else given
        elif buffer.target is not None and buffer.origin != "constant":
            held[buffer.name] = state[buffer.target]
        elif buffer.origin == "constant":
            held[buffer.name] = torch.tensor(buffer.values).double()
    for step in plan.steps:
        run_step(plan, step, held)
    return [held[name] for name in plan.results]


def run_step(plan: ir.Plan, step: ir.Step, held: dict[str, torch.Tensor]) -> None:
    match step:
        case ir.KernelRegion():
            run_region(plan, step, held)
        case ir.MatmulRegion():
            held[step.product] = product_of(plan, step, held)
            if step.twin is not None:
                twin = replace(step, rhs=step.twin.rhs, bias=step.twin.bias, product=step.twin.product)
                held[twin.product] = product_of(plan, twin, held)
            if step.epilogue is not None:
                run_region(plan, step.epilogue, held)
        case ir.TorchStep():
            args = [concrete(arg, held) for arg in step.args]
            call = getattr(getattr(torch.ops.aten, step.op.split(".")[1]), step.op.split(".")[2])
            outputs = call(*args, **{key: concrete(value, held) for key, value in step.kwargs})
            several = outputs if isinstance(outputs, tuple | list) else [outputs]
            for name, value in zip(step.outputs, several, strict=True):
                if name is not None:
                    held[name] = value


def product_of(plan: ir.Plan, step: ir.MatmulRegion, held: dict[str, torch.Tensor]) -> torch.Tensor:
    lhs = held[step.lhs].mT if step.lhs_transposed else held[step.lhs]
    rhs = held[step.rhs].mT if step.rhs_transposed else held[step.rhs]
    if step.layouts is not None:
        lhs, rhs = (laid_out(x, layout, held) for x, layout in zip((lhs, rhs), step.layouts, strict=True))
    product = lhs @ rhs + (held[step.bias] if step.bias else 0)
    product = product.reshape([concrete(size, held) for size in plan.buffer(step.product).shape])
    if step.triangle is None:
        return product
    return (torch.tril if step.triangle == "lower" else torch.triu)(product, step.diagonal)


def laid_out(x: torch.Tensor, layout: ir.Layout, held: dict[str, torch.Tensor]) -> torch.Tensor:
    x = x.view([concrete(size, held) for size in layout.shape])
    x = x.permute([axis for axis in layout.order if axis is not None])
    for position, axis in enumerate(layout.order):
        x = x if axis is not None else x.unsqueeze(position)
    return x


def concrete(arg: Any, held: dict[str, torch.Tensor]) -> Any:
    if isinstance(arg, ir.BufferArg):
        return held[arg.name]
    if isinstance(arg, ir.Size):
        return extent(arg, {name: tuple(value.shape) for name, value in held.items()})
    return [concrete(item, held) for item in arg] if isinstance(arg, tuple) else arg


def run_region(plan: ir.Plan, region: ir.KernelRegion, held: dict[str, torch.Tensor]) -> None:
    sizes = [concrete(size, held) for size in region.domain]
    columns = list(range(region.row_axes, len(sizes)))
    values: list[torch.Tensor] = []
    for value in region.values:
        values.append(run_value(region, value, values, sizes, columns, held))
    for store in region.stores:
        kept = sizes[: region.row_axes] if store.per_row else sizes
        value = values[store.value]
        if store.per_row and columns:
            value = value.expand(*sizes[: region.row_axes], *([1] * len(columns)))
        else:
            value = value.expand(sizes)
        shape = [concrete(size, held) for size in plan.buffer(store.buffer).shape]
        ordered = value.reshape(kept).permute(region.stored_axes(store))
        held[store.buffer] = ordered.reshape(shape).double()


def run_value(
    region: ir.KernelRegion,
    value: ir.Value,
    values: list[torch.Tensor],
    sizes: list[int],
    columns: list[int],
    held: dict[str, torch.Tensor],
) -> torch.Tensor:
    match value:
        case ir.Pooled():
            return run_pooled(value, sizes, held)
        case ir.Position():
            counted = torch.arange(int(torch.tensor(sizes[region.row_axes :]).prod()), dtype=torch.float64)
            return counted.reshape([1] * region.row_axes + sizes[region.row_axes :])
        case ir.Load():
            tensor = held[value.buffer].reshape([sizes[axis] for axis in value.axes])
            return over_domain(tensor, value, sizes).double()
        case ir.Constant():
            return torch.tensor(value.number, dtype=torch.float64).reshape([1] * len(sizes))
        case ir.ColumnCount():
            count = torch.tensor(sizes[region.row_axes :]).prod().double()
            return count.reshape([1] * len(sizes))
        case ir.Pointwise():
            return POINTWISE[value.op](*(values[arg] for arg in value.args)).double()
        case ir.Reduce() if value.op in POSITIONS:
            columns_last = values[value.arg].expand(sizes).flatten(region.row_axes)
            place = POSITIONS[value.op](columns_last, -1)
            return place.reshape([*sizes[: region.row_axes], *([1] * len(columns))])
        case ir.Reduce():
            return FOLDS[value.op](values[value.arg].expand(sizes), dim=columns, keepdim=True)
        case ir.Scan():
            return run_scan(value, values[value.arg].expand(sizes), columns[0])


def run_scan(value: ir.Scan, full: torch.Tensor, dim: int) -> torch.Tensor:
    run = torch.cumsum if value.op == "sum" else torch.cumprod
    return run(full.flip(dim), dim).flip(dim) if value.is_reverse else run(full, dim)


def run_pooled(value: ir.Pooled, sizes: list[int], held: dict[str, torch.Tensor]) -> torch.Tensor:
    """A fold under windows, tap by tap: what lies outside is the fold's neutral number."""
    leading = [sizes[axis] for axis in value.leading()]
    image = held[value.buffer].reshape([*leading, *(window.extent for window in value.windows)]).double()
    image = torch.ones_like(image) if value.op == "count" else image
    neutral = -torch.inf if value.op == "max" else 0.0
    for dim, window in enumerate(value.windows, len(leading)):
        places = torch.arange(int(torch.tensor([sizes[axis] for axis in window.axes]).prod())) * window.stride
        taps = []
        for tap in range(window.size):
            at = places - window.padding + tap * window.dilation
            inside = ((at >= 0) & (at < window.extent)).reshape([-1] + [1] * (image.dim() - dim - 1))
            taken = image.index_select(dim, at.clamp(0, window.extent - 1))
            taps.append(torch.where(inside, taken, neutral))
        image = torch.stack(taps).amax(0) if value.op == "max" else torch.stack(taps).sum(0)
    return over_domain(image.reshape([sizes[axis] for axis in value.axes]), value, sizes)


def over_domain(tensor: torch.Tensor, load: ir.Load, sizes: list[int]) -> torch.Tensor:
    """What was read along a load's axes, in the domain's order, with extent 1 along the other axes."""
    tensor = tensor.permute(sorted(range(len(load.axes)), key=lambda i: load.axes[i]))
    return tensor.reshape([sizes[axis] if axis in load.axes else 1 for axis in range(len(sizes))])


def planned(
    function: Function, *inputs: torch.Tensor, parts: tuple[nn.Module, ...] = (), abilities: Abilities = BASIC
) -> ir.Plan:
    """The plan of a reference, after checking that it computes the reference."""
    graph = traced(function, *inputs, parts=parts)
    plan = plan_graph(graph, abilities)
    model = Reference(function, *parts).eval()
    with torch.no_grad():
        wanted = model.double()(*(x.double() if x.is_floating_point() else x for x in inputs))
        got = run_plan(plan, model, inputs)
    for mine, theirs in zip(got, [wanted] if isinstance(wanted, torch.Tensor) else wanted, strict=True):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=1e-9, atol=1e-9, equal_nan=True)
    return plan


def left(plan: ir.Plan) -> dict[str, str]:
    """What a plan leaves to PyTorch, with the reasons."""
    return {step.op: step.reason for step in plan.steps if isinstance(step, ir.TorchStep)}
