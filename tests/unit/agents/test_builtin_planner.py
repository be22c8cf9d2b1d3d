"""What is fused into what, and that every plan computes its reference: an interpreter runs plans in float64."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from everforge.agents.builtin import plan as ir
from everforge.agents.builtin.abilities import BASIC, TRITON, Abilities
from everforge.agents.builtin.planner import Unplannable, plan_graph
from everforge.agents.builtin.variants import extent, mismatch
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


# an interpreter of plans -----------------------------------------------------------------------------------

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


# what is fused ---------------------------------------------------------------------------------------------


ROW_PROGRAMS: dict[str, tuple[Function, tuple[int, ...]]] = {
    "softmax then logsumexp": (lambda m, x: torch.logsumexp(torch.softmax(x, 1), 1), (5, 123)),
    "log-softmax of a chain": (lambda m, x: functional.log_softmax(torch.tanh(x) * 3, -1), (4, 3, 17)),
    "rms norm by hand": (lambda m, x: x / torch.sqrt(torch.mean(x**2, -1, keepdim=True) + 1e-5), (6, 31)),
    "reduction over two dimensions": (lambda m, x: torch.relu(x).mean(dim=(2, 3)), (2, 3, 4, 5)),
    "variance": (lambda m, x: x.var(dim=1, keepdim=True), (3, 20)),
    "population deviation": (lambda m, x: torch.std(x, dim=-1, correction=0), (3, 20)),
    "everything": (lambda m, x: (x * x).sum(), (3, 20)),
    "norm": (lambda m, x: x / torch.linalg.vector_norm(x, dim=1, keepdim=True), (3, 20)),
    "maximum with positions dropped": (lambda m, x: torch.max(x, 1)[0], (3, 20)),
    "scan": (lambda m, x: torch.cumsum(x * 2, 1).exp(), (3, 20)),
    "global pooling": (lambda m, x: functional.adaptive_avg_pool2d(torch.sigmoid(x), 1), (2, 3, 4, 4)),
    "rows of one element": (lambda m, x: torch.logsumexp(x, 1, keepdim=True), (7, 1)),
    "flattened": (lambda m, x: torch.flatten(x, 1).softmax(1), (2, 3, 4, 4)),
}


@pytest.mark.parametrize("name", ROW_PROGRAMS)
def test_row_reductions_become_one_kernel(name: str) -> None:
    function, shape = ROW_PROGRAMS[name]
    plan = planned(function, torch.randn(*shape))
    assert len(plan.steps) == 1
    assert isinstance(plan.steps[0], ir.KernelRegion)
    assert not plan.steps[0].is_pointwise


ANY_ORDER: dict[str, tuple[Function, tuple[int, ...]]] = {
    "columns": (lambda m, x: torch.relu(x).sum(0), (4, 9)),
    "middle dimension with a tail": (lambda m, x: torch.tanh(x).mean(1, keepdim=True) * 2, (3, 5, 7)),
    "batch and pixels": (lambda m, x: x.var((0, 2, 3)), (3, 5, 4, 2)),
    "softmax over channels": (lambda m, x: torch.softmax(x * 2, 1), (3, 5, 4, 2)),
    "log-softmax of the transposed": (lambda m, x: functional.log_softmax(x.T, 1), (6, 5)),
    "distance from the column's mean": (lambda m, x: (x - x.mean(0)) * 2, (6, 5)),
    "scan over rows": (lambda m, x: torch.cumsum(x, 0).exp(), (6, 5)),
    "scan from the end": (lambda m, x: torch.flip(torch.cumsum(torch.flip(x * 2, [1]), 1), [1]) + 1, (6, 5)),
    "exclusive scan": (lambda m, x: torch.cumsum(functional.pad(torch.tanh(x)[:, :-1], (1, 0)), 1), (6, 5)),
    "exclusive scan of columns": (lambda m, x: torch.cumsum(functional.pad(x[:-1], (0, 0, 1, 0)), 0), (6, 5)),
    "position": (lambda m, x: torch.argmax(torch.tanh(x), 1), (3, 5, 7)),
    "position among all": (lambda m, x: x.argmin(), (3, 5)),
    "extremum and position": (lambda m, x: tuple(torch.max(x, 0)), (6, 5)),
    "transposed result": (lambda m, x: torch.exp(x).permute(2, 0, 1), (3, 5, 7)),
    "input beside its column sums": (lambda m, x: (x * 2, (x * 2).sum(0)), (6, 5)),
}


@pytest.mark.parametrize("name", ANY_ORDER)
def test_kernels_of_any_order_take_outer_dimensions_whole(name: str) -> None:
    function, shape = ANY_ORDER[name]
    plan = planned(function, torch.randn(*shape), abilities=TRITON)
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]


LOSSES: dict[str, Function] = {
    "smooth l1": lambda m, x, y: functional.smooth_l1_loss(x, y),
    "smooth l1 with a bend": lambda m, x, y: functional.smooth_l1_loss(x, y, reduction="sum", beta=0.3),
    "huber": lambda m, x, y: functional.huber_loss(x, y, delta=0.7),
    "divergence": lambda m, x, y: functional.kl_div(x.log_softmax(1), y.square(), reduction="batchmean"),
    "divergence from logarithms": lambda m, x, y: functional.kl_div(x, y, reduction="sum", log_target=True),
    "absolute": lambda m, x, y: functional.l1_loss(x, y),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_understood_whole(name: str) -> None:
    plan = planned(LOSSES[name], torch.randn(4, 9), torch.randn(4, 9))
    assert not left(plan)


def test_cosine_similarity_is_one_row_program() -> None:
    plan = planned(lambda m, x, y: functional.cosine_similarity(x, y * 2, 1), torch.randn(4, 9), torch.randn(4, 9))
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]


WINDOWED: dict[str, Function] = {
    "largest": lambda m, x: functional.max_pool1d(x, 3) * 2,
    "mean of a product's": lambda m, x: functional.avg_pool1d(m[0](x), 4),
    "features": lambda m, x: torch.relu(functional.max_pool1d(x.flatten(1).unsqueeze(1), 4).squeeze(1)),
}


@pytest.mark.parametrize("name", WINDOWED)
def test_windows_that_touch_are_folded(name: str) -> None:
    plan = planned(WINDOWED[name], torch.randn(2, 5, 12), parts=(nn.Linear(12, 8),), abilities=TRITON)
    assert not left(plan)
    assert any(isinstance(step, ir.KernelRegion) and not step.is_pointwise for step in plan.steps)


@pytest.mark.parametrize("arguments", [(3, 2), (3, 3, 1), (5,)], ids=["overlap", "padding", "rest"])
def test_other_windows_are_left_with_the_reason(arguments: tuple[int, ...]) -> None:
    plan = planned(lambda m, x: functional.max_pool1d(x, *arguments), torch.randn(2, 5, 12), abilities=TRITON)
    assert "windows" in left(plan)["aten.max_pool1d.default"]


def test_batch_norm_by_the_batch_is_one_row_program() -> None:
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    nn.init.normal_(norm.weight)
    x = torch.randn(2, 3, 4, 5)
    plan = planned(lambda m, x: torch.relu(m[0](x)), x, parts=(norm,), abilities=TRITON)
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]
    assert "not the innermost" in next(iter(left(planned(lambda m, x: m[0](x), x, parts=(norm.float(),))).values()))


def test_masks_are_read_by_kernels() -> None:
    plan = planned(
        lambda m, x, keep: torch.cumsum(x * keep, 1), torch.randn(4, 9), torch.rand(4, 9) > 0.5, abilities=TRITON
    )
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]


def test_flip_outside_a_scan_is_left_with_the_reason() -> None:
    plan = planned(
        lambda m, x: torch.flip(x.exp(), [1]) * torch.cumsum(torch.flip(x, [1]), 1), torch.randn(4, 9), abilities=TRITON
    )
    assert "outside a running sum" in left(plan)["aten.flip.default"]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda m, x: torch.cumsum(functional.pad(x[:, :-1], (0, 1)), 1), id="zero behind"),
        pytest.param(lambda m, x: torch.cumsum(functional.pad(x[:, :-1], (1, 0), value=1.0), 1), id="one in front"),
        pytest.param(lambda m, x: torch.cumprod(functional.pad(x[:, :-1], (1, 0)), 1), id="product"),
        pytest.param(lambda m, x: torch.cumsum(functional.pad(x[:, :-1], (1, 0)), 0), id="other dimension"),
        pytest.param(lambda m, x: functional.pad(x[:, :-1], (1, 0)) * 2, id="no scan"),
        pytest.param(lambda m, x: torch.cumsum(x[:, :-1], 1), id="no padding"),
    ],
)
def test_other_slices_and_paddings_are_left_to_pytorch(function: Function) -> None:
    assert "aten.slice.Tensor" in left(planned(function, torch.randn(4, 9), abilities=TRITON))


def test_half_precision_is_stored_as_the_reference_does() -> None:
    x = torch.ones(4, 9, dtype=torch.bfloat16)
    plan = plan_graph(traced(lambda m, x: (torch.softmax(x, 1), x.float() * 2), x), TRITON)
    assert [plan.buffer(name).dtype for name in plan.results] == ["bfloat16", "float32"]
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]


def test_products_of_half_precision_inputs_are_left_to_pytorch() -> None:
    x = torch.ones(4, 4, dtype=torch.bfloat16)
    plan = plan_graph(traced(lambda m, x: torch.relu(x @ x), x), TRITON)
    assert [type(step) for step in plan.steps] == [ir.TorchStep, ir.KernelRegion]


MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "layer norm": (nn.LayerNorm(10), (4, 3, 10)),
    "layer norm over two dimensions": (nn.LayerNorm((3, 10)), (4, 3, 10)),
    "rms norm": (nn.RMSNorm(10, eps=1e-6), (4, 10)),
    "group norm of images": (nn.GroupNorm(2, 6), (3, 6, 4, 5)),
    "group norm of rows": (nn.GroupNorm(2, 6), (3, 6)),
    "instance norm": (nn.InstanceNorm2d(3, affine=True), (2, 3, 4, 5)),
    "batch norm": (nn.BatchNorm2d(3), (2, 3, 4, 5)),
    "gelu": (nn.GELU(), (4, 10)),
    "gelu by tanh": (nn.GELU(approximate="tanh"), (4, 10)),
    "mish": (nn.Mish(), (4, 10)),
    "softplus": (nn.Softplus(beta=2.0), (4, 10)),
    "elu": (nn.ELU(0.7), (4, 10)),
    "selu": (nn.SELU(), (4, 10)),
    "celu": (nn.CELU(0.7), (4, 10)),
    "hardswish": (nn.Hardswish(), (4, 10)),
    "hardsigmoid": (nn.Hardsigmoid(), (4, 10)),
    "hardtanh": (nn.Hardtanh(-0.5, 0.25), (4, 10)),
    "leaky relu": (nn.LeakyReLU(0.2), (4, 10)),
    "log-sigmoid": (nn.LogSigmoid(), (4, 10)),
    "softsign": (nn.Softsign(), (4, 10)),
    "silu": (nn.SiLU(), (4, 10)),
    "dropout in evaluation": (nn.Sequential(nn.Dropout(), nn.ReLU()), (4, 10)),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_understood_whole(name: str) -> None:
    module, shape = MODULES[name]
    plan = planned(lambda m, x: m[0](x), torch.randn(*shape), parts=(module,))
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]


def test_pointwise_chain_with_broadcasting_is_one_pointwise_kernel() -> None:
    plan = planned(
        lambda m, x, y: torch.where(x > 0, x * y, y - 1).clamp(-1, 1), torch.randn(4, 5, 6), torch.randn(5, 1)
    )
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]
    assert plan.steps[0].is_pointwise  # type: ignore[union-attr]


def test_transposed_operand_is_read_in_place() -> None:
    plan = planned(lambda m, x: x + x.T, torch.randn(6, 6))
    (region,) = plan.steps
    assert isinstance(region, ir.KernelRegion)
    assert sorted(load.axes for load in region.loads()) == [(0, 1), (1, 0)]


def test_product_takes_its_pointwise_epilogue() -> None:
    plan = planned(lambda m, x: functional.mish(m[0](x)) * 2, torch.randn(4, 8), parts=(nn.Linear(8, 6),))
    (product,) = plan.steps
    assert isinstance(product, ir.MatmulRegion)
    assert product.epilogue is not None
    assert not product.keeps_product


def test_product_read_twice_is_kept() -> None:
    def forward(m: nn.ModuleList, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = m[0](x)
        return torch.relu(y), y

    (product,) = planned(forward, torch.randn(4, 8), parts=(nn.Linear(8, 6),)).steps
    assert isinstance(product, ir.MatmulRegion)
    assert product.keeps_product


def test_row_tail_of_a_product_is_a_kernel_of_its_own() -> None:
    plan = planned(lambda m, a, b: torch.softmax(a @ b.T, 1), torch.randn(4, 8), torch.randn(6, 8))
    product, tail = plan.steps
    assert isinstance(product, ir.MatmulRegion)
    assert product.rhs_transposed
    assert isinstance(tail, ir.KernelRegion)


@pytest.mark.parametrize("pool", [torch.mean, torch.sum, torch.amax], ids=["mean", "sum", "amax"])
@pytest.mark.parametrize("keepdim", [False, True])
def test_pooled_norm_writes_one_number_for_each_group(pool: Function, keepdim: bool) -> None:
    def forward(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
        return pool(m[0](x), dim=(1, 2, 3), keepdim=keepdim) * 2

    first, second = planned(forward, torch.randn(3, 6, 4, 5), parts=(nn.GroupNorm(2, 6),)).steps
    assert isinstance(first, ir.KernelRegion)
    assert isinstance(second, ir.KernelRegion)
    assert [store.per_row for store in first.stores] == [True]
    assert [size.literal for size in second.domain] == [3, 2]


def test_reductions_of_unrelated_rows_are_different_kernels() -> None:
    plan = planned(lambda m, x: torch.softmax(torch.softmax(x, -1).flatten(1), 1), torch.randn(3, 4, 5))
    assert [type(step) for step in plan.steps] == [ir.KernelRegion, ir.KernelRegion]


def test_several_results_come_from_one_kernel() -> None:
    plan = planned(lambda m, x: (torch.softmax(x, 1), x.amax(1), x * 2), torch.randn(4, 9))
    (region,) = plan.steps
    assert isinstance(region, ir.KernelRegion)
    assert [store.per_row for store in region.stores].count(True) == 1


# what is not -----------------------------------------------------------------------------------------------


def left(plan: ir.Plan) -> dict[str, str]:
    return {step.op: step.reason for step in plan.steps if isinstance(step, ir.TorchStep)}


def test_unknown_operation_is_left_to_pytorch_and_its_neighbours_are_fused() -> None:
    plan = planned(lambda m, x: torch.sort(x.exp() + 1, 1)[0].sum(1), torch.randn(4, 9))
    assert [type(step) for step in plan.steps] == [ir.KernelRegion, ir.TorchStep, ir.KernelRegion]
    assert left(plan) == {"aten.sort.default": "no kernel of ours computes this operation"}


def test_reduction_over_an_outer_dimension_is_left_with_the_reason() -> None:
    plan = planned(lambda m, x: torch.relu(x).sum(0), torch.randn(4, 9))
    assert "not the innermost" in left(plan)["aten.sum.dim_IntList"]


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.float16])
def test_other_dtypes_are_left_with_the_reason(dtype: torch.dtype) -> None:
    plan = plan_graph(traced(lambda m, x: x * 2, torch.ones(4, 9, dtype=dtype)))
    assert all(isinstance(step, ir.TorchStep) for step in plan.steps)
    assert "float32" in left(plan)["aten.mul.Tensor"]


def test_booleans_that_leave_the_kernel_are_left_to_pytorch() -> None:
    plan = planned(lambda m, x: x > 0.5, torch.randn(4, 9))
    assert "booleans" in left(plan)["aten.gt.Scalar"]


def test_random_numbers_are_left_to_pytorch() -> None:
    plan = plan_graph(traced(lambda m, x: x + torch.rand(9), torch.randn(4, 9)))
    assert list(left(plan)) == ["aten.rand.default"]


def test_graph_of_another_tracer_has_no_plan() -> None:
    graph = traced(lambda m, x: torch.relu(x), torch.randn(3))
    renamed = graph.model_copy(
        update={"nodes": tuple(n.model_copy(update={"op": n.op.replace("aten.", "torch.")}) for n in graph.nodes)}
    )
    with pytest.raises(Unplannable, match=r"torch\.relu"):
        plan_graph(renamed)


# other shapes ----------------------------------------------------------------------------------------------


def test_plan_serves_other_shapes_of_the_same_structure() -> None:
    part = (nn.GroupNorm(2, 6),)
    plan = plan_graph(traced(lambda m, x: m[0](x).sum(dim=(2, 3)), torch.randn(3, 6, 4, 5), parts=part))
    assert mismatch(plan, traced(lambda m, x: m[0](x).sum(dim=(2, 3)), torch.randn(8, 6, 7, 7), parts=part)) is None


def test_plan_that_fixed_an_extent_does_not_serve_another() -> None:
    plan = plan_graph(traced(lambda m, x: torch.sort(x, 1)[0].reshape(-1, 4), torch.randn(3, 8)))
    other = traced(lambda m, x: torch.sort(x, 1)[0].reshape(-1, 8), torch.randn(3, 8))
    assert mismatch(plan, other) is not None


# chains nobody thought of ----------------------------------------------------------------------------------

STEPS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "tanh": lambda x, y: torch.tanh(x),
    "add other": lambda x, y: x + y,
    "add its row": lambda x, y: x + y[:, :1],
    "subtract maximum": lambda x, y: x - x.amax(-1, keepdim=True),
    "softmax": lambda x, y: torch.softmax(x, -1),
    "scale by mean": lambda x, y: x * y.mean(-1, keepdim=True),
    "cumulate": lambda x, y: torch.cumsum(x, -1) * 0.1,
    "normalise": lambda x, y: functional.layer_norm(x, (x.shape[-1],)),
    "choose": lambda x, y: torch.where(x > y, x, -y),
    "sort": lambda x, y: torch.sort(x, -1)[0],
    "share of all": lambda x, y: x / (1 + torch.square(x).sum()),
    "outer sum": lambda x, y: x + y.sum(0),
    "split and join": lambda x, y: torch.sin(x.reshape(x.shape[0], -1, 2)).reshape(x.shape),
    "softmax of columns": lambda x, y: torch.softmax(x * 2, 0),
    "cumulate down": lambda x, y: torch.cumsum(x, 0) * 0.1,
    "cumulate from the end": lambda x, y: torch.cumsum(x.flip(1), 1).flip(1) * 0.1,
    "choose by position": lambda x, y: x + torch.argmax(y, 0),
    "transpose and back": lambda x, y: torch.exp(-(x.T**2)).T,
}


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6),
    st.sampled_from([(3, 8), (1, 4), (5, 2)]),
    st.sampled_from([BASIC, TRITON]),
)
def test_any_chain_of_operations_plans_to_the_same_values(
    names: list[str], shape: tuple[int, int], abilities: Abilities
) -> None:
    def forward(m: nn.ModuleList, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for name in names:
            x = STEPS[name](x, y)
        return x

    torch.manual_seed(0)
    planned(forward, torch.randn(*shape), torch.randn(*shape), abilities=abilities)
