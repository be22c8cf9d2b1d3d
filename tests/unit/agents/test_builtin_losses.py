"""Losses in plans and in C++: those over rows of scores and distances, and element by element."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plan_interpreter as interpreter
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from everforge.agents.builtin import plan as ir
from everforge.agents.builtin.abilities import BASIC, TRITON, Abilities
from everforge.agents.builtin.cpp_emitter import emit_cpp
from everforge.agents.builtin.planner import plan_graph

Function = Callable[..., Any]


planned, traced, left = interpreter.planned, interpreter.traced, interpreter.left
BOTH = pytest.mark.parametrize("abilities", [BASIC, TRITON], ids=["C++", "Triton"])

SCORES, SHARES, OTHERS = torch.randn(6, 9), torch.rand(6, 9), torch.randn(6, 9)
CLASSES, SIGNS, WEIGHTS = torch.tensor([0, 3, 8, -100, 2, 2]), torch.randint(2, (6, 9)) * 2.0 - 1, torch.rand(9)

OVER_ROWS: dict[str, tuple[Function, tuple[torch.Tensor, ...]]] = {
    "mean over counted rows": (lambda m, x, t: F.cross_entropy(x, t), (SCORES, CLASSES)),
    "sum of a chain's": (lambda m, x, t: F.cross_entropy(x * 2, t, reduction="sum") + 1, (SCORES, CLASSES)),
    "weights": (lambda m, x, t, w: F.cross_entropy(x, t, w), (SCORES, CLASSES, WEIGHTS)),
    "another class ignored": (lambda m, x, t: F.cross_entropy(x, t.clamp(0), ignore_index=2), (SCORES, CLASSES)),
    "smooth labels": (lambda m, x, t: F.cross_entropy(x, t, label_smoothing=0.1), (SCORES, CLASSES)),
    "shares": (lambda m, x, t, w: F.cross_entropy(x, t, w, label_smoothing=0.1), (SCORES, SHARES, WEIGHTS)),
    "as many rows as classes": (lambda m, x, t: F.cross_entropy(x, t), (torch.randn(6, 6), torch.arange(6))),
    "logarithms": (lambda m, x, t: F.nll_loss(F.log_softmax(x, 1), t), (SCORES, CLASSES)),
    "triplets": (lambda m, a, p, n: F.triplet_margin_loss(a, p, n, margin=0.5), (SCORES, SHARES, OTHERS)),
    "triplets swapped": (
        lambda m, a, p, n: F.triplet_margin_loss(a, p, n, swap=True, p=1, reduction="sum"),
        (SCORES, SHARES, OTHERS),
    ),
}


@BOTH
@pytest.mark.parametrize("name", OVER_ROWS)
def test_losses_over_rows_fold_rows_and_then_the_rows(name: str, abilities: Abilities) -> None:
    function, inputs = OVER_ROWS[name]
    plan = planned(function, *inputs, abilities=abilities)
    kernels = [step for step in plan.steps if isinstance(step, ir.KernelRegion)]
    assert [step.row_axes for step in kernels] == [1, 0]
    assert not [op for op in left(plan) if "loss" in op]


@BOTH
def test_losses_of_each_row_are_one_kernel(abilities: Abilities) -> None:
    plan = planned(lambda m, x, t: F.cross_entropy(x, t, reduction="none"), SCORES, CLASSES, abilities=abilities)
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]


def test_classes_of_pixels_are_compared_across_memory() -> None:
    scores, classes = torch.randn(3, 5, 4, 2), torch.randint(5, (3, 4, 2))
    assert not left(planned(lambda m, x, t: F.cross_entropy(x, t), scores, classes, abilities=TRITON))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        pytest.param(lambda m, x, t: F.nll_loss(x, t), "one element of a row", id="nothing else reads the row"),
        pytest.param(
            lambda m, x, t: F.cross_entropy(x, t, x[0].exp(), label_smoothing=0.1), "weigh differently", id="smooth"
        ),
        pytest.param(lambda m, x, t: F.cross_entropy(x[0], t[0]), "a single row", id="single"),
    ],
)
def test_other_losses_over_classes_are_left_with_the_reason(function: Function, reason: str) -> None:
    plan = planned(function, SCORES, CLASSES, abilities=TRITON)
    assert reason in " ".join(left(plan).values())


def test_classes_are_read_by_losses_alone() -> None:
    plan = plan_graph(traced(lambda m, x, t: (x == t) * x, torch.randn(9, 9), torch.arange(9)), TRITON)
    assert "int64" in left(plan)["aten.eq.Tensor"]


EACH: dict[str, tuple[Function, tuple[torch.Tensor, ...]]] = {
    "binary": (lambda m, x, t: F.binary_cross_entropy(x, t), (SHARES, torch.rand(6, 9))),
    "binary, certain": (lambda m, x, t: F.binary_cross_entropy(x.round(), t), (SHARES, SHARES.round())),
    "logits": (lambda m, x, t, w: F.binary_cross_entropy_with_logits(x, t, pos_weight=w), (SCORES, SHARES, WEIGHTS)),
    "soft margin": (lambda m, x, t: F.soft_margin_loss(x, t), (SCORES, SIGNS)),
    "ranking": (lambda m, x, y, t: F.margin_ranking_loss(x, y, t, margin=0.3), (SCORES, OTHERS, SIGNS)),
    "hinge": (lambda m, x, t: F.hinge_embedding_loss(x, t, reduction="sum"), (SCORES, SIGNS)),
    "poisson": (lambda m, x, t: F.poisson_nll_loss(x, t), (SCORES, SHARES)),
    "poisson of rates": (lambda m, x, t: F.poisson_nll_loss(x, t, log_input=False), (SHARES, SHARES)),
}


@BOTH
@pytest.mark.parametrize("name", EACH)
def test_losses_of_elements_are_understood_whole(name: str, abilities: Abilities) -> None:
    function, inputs = EACH[name]
    plan = planned(function, *inputs, abilities=abilities)
    assert not [op for op in left(plan) if "loss" in op or "entropy" in op]


# C++, compiled and run ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _extensions_in_a_directory_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))


def check(function: Function, *inputs: torch.Tensor) -> None:
    graph = traced(function, *inputs)
    module = types.ModuleType("candidate")
    exec(compile(emit_cpp(plan_graph(graph), graph, {}), "candidate.py", "exec"), module.__dict__)
    wanted = function(None, *(x.double() if x.is_floating_point() else x for x in inputs))
    for mine, truth in zip(module.ModelNew()(*inputs), wanted, strict=True):
        torch.testing.assert_close(mine.double(), truth, rtol=3e-6, atol=3e-6, equal_nan=True)


def every_loss(_: Any, x: torch.Tensor, y: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (
        *(F.cross_entropy(x, t), F.cross_entropy(x, t, reduction="none"), F.cross_entropy(x, t, label_smoothing=0.1)),
        *(F.cross_entropy(x, y.square()), F.nll_loss(F.log_softmax(x * 3, 1), t, reduction="sum")),
        *(F.triplet_margin_loss(x, y, x * y), F.binary_cross_entropy_with_logits(x, y), F.soft_margin_loss(x, y)),
    )


@settings(max_examples=2)
@given(st.integers(1, 40), st.integers(2, 300))
def test_kernels_compute_losses_as_pytorch_does(rows: int, classes: int) -> None:
    torch.manual_seed(rows)
    check(every_loss, torch.randn(rows, classes), torch.randn(rows, classes), torch.randint(classes, (rows,)))


def test_nan_and_infinite_scores_end_as_in_pytorch() -> None:
    scores = torch.randn(6, 40)
    scores[0, 3], scores[1, 39], scores[2, 0] = float("nan"), float("inf"), float("-inf")
    scores[3], scores[4] = float("-inf"), 1e10
    for target in (0, 3, 39):
        check(lambda m, x, t: (F.cross_entropy(x, t, reduction="none"),), scores, torch.full((6,), target))
