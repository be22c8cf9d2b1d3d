"""What is fused into what, and that every plan computes its reference: an interpreter runs plans in float64."""

from collections.abc import Callable
from typing import Any

import plan_interpreter as interpreter
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from everforge.agents.builtin import plan as ir
from everforge.agents.builtin.abilities import BASIC, TRITON, Abilities
from everforge.agents.builtin.planner import Unplannable, plan_graph
from everforge.agents.builtin.variants import mismatch

Function = Callable[..., Any]


planned, traced, left = interpreter.planned, interpreter.traced, interpreter.left


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
