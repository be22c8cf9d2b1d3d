"""What Triton's abilities add to plans: outer dimensions, positions, scans from the end, windows, half precision."""

from collections.abc import Callable
from typing import Any

import plan_interpreter as interpreter
import pytest
import torch
from torch import nn
from torch.nn import functional

from everforge.agents.builtin import plan as ir
from everforge.agents.builtin.abilities import BASIC, TRITON, Abilities
from everforge.agents.builtin.planner import plan_graph

Function = Callable[..., Any]


planned, traced, left = interpreter.planned, interpreter.traced, interpreter.left


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


def test_batch_norm_by_the_batch_is_one_row_program() -> None:
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    nn.init.normal_(norm.weight)
    x = torch.randn(2, 3, 4, 5)
    plan = planned(lambda m, x: torch.relu(m[0](x)), x, parts=(norm,), abilities=TRITON)
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]
    assert "not the innermost" in next(iter(left(planned(lambda m, x: m[0](x), x, parts=(norm.float(),))).values()))


@pytest.mark.parametrize("abilities", [BASIC, TRITON], ids=["C++", "Triton"])
def test_masks_are_read_by_kernels(abilities: Abilities) -> None:
    plan = planned(
        lambda m, x, keep: torch.cumsum(x * keep, 1), torch.randn(4, 9), torch.rand(4, 9) > 0.5, abilities=abilities
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
