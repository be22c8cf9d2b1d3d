"""An interpreter of plans in float64, for tests of the planner: a plan must compute its reference.

Test files load it by path, since tests are no package.
"""

import operator
from collections.abc import Callable
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
            rhs = held[step.rhs].mT if step.rhs_transposed else held[step.rhs]
            held[step.product] = held[step.lhs] @ rhs + (held[step.bias] if step.bias else 0)
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
        case ir.Load():
            tensor = held[value.buffer].reshape([sizes[axis] for axis in value.axes])
            order = sorted(range(len(value.axes)), key=lambda i: value.axes[i])
            tensor = tensor.permute(order)
            tensor = tensor.reshape([sizes[axis] if axis in value.axes else 1 for axis in range(len(sizes))])
            return tensor.double()
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
            full = values[value.arg].expand(sizes)
            run = torch.cumsum if value.op == "sum" else torch.cumprod
            if value.is_reverse:
                return run(full.flip(columns[0]), columns[0]).flip(columns[0])
            return run(full, columns[0])


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
