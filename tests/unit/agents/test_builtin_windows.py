"""Pooling in plans and in C++: windows of every kind, what they fuse with, and what they are left to PyTorch for."""

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
from everforge.agents.builtin.shape_bound import shape_numbers
from everforge.agents.builtin.variants import mismatch

Function = Callable[..., Any]
NAN, INFINITY = float("nan"), float("inf")


planned, traced, left = interpreter.planned, interpreter.traced, interpreter.left
BOTH = pytest.mark.parametrize("abilities", [BASIC, TRITON], ids=["C++", "Triton"])

ONE_KERNEL: dict[str, Function] = {
    "overlap and padding": lambda m, x: F.max_pool2d(x, 3, 2, 1),
    "a rest": lambda m, x: F.avg_pool2d(x, 5),
    "gaps": lambda m, x: F.max_pool2d(x, 2, 1, 1, 2),
    "rounded up": lambda m, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "padding not counted": lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "rounded up and averaged": lambda m, x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "divisor of its own": lambda m, x: F.avg_pool2d(x, 2, divisor_override=3),
    "volumes": lambda m, x: F.max_pool3d(x, 2, 2, 1),
    "signals": lambda m, x: F.avg_pool1d(x.flatten(0, 1), 8, 1, 4),
    "less its surroundings": lambda m, x: x - F.avg_pool2d(x, 3, 1, 1),
    "a single place": lambda m, x: F.max_pool2d(x, 8) + 1,
    "tail": lambda m, x: F.relu(F.max_pool2d(x, 2)) * 2,
    "mean of the pooled": lambda m, x: F.max_pool2d(x, 2).mean((2, 3)),
    "softmax of the pooled": lambda m, x: F.max_pool2d(x, 2).flatten(1).softmax(1),
}


@BOTH
@pytest.mark.parametrize("name", ONE_KERNEL)
def test_pooling_and_what_follows_is_one_kernel(name: str, abilities: Abilities) -> None:
    plan = planned(ONE_KERNEL[name], torch.randn(2, 3, 8, 9), abilities=abilities)
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]


@BOTH
def test_what_is_pooled_must_be_in_memory(abilities: Abilities) -> None:
    plan = planned(lambda m, x: F.max_pool2d(x.exp(), 3, 2, 1) * 2, torch.randn(2, 3, 8, 9), abilities=abilities)
    assert [type(step) for step in plan.steps] == [ir.KernelRegion, ir.KernelRegion]


def test_pooled_products_are_no_epilogue() -> None:
    plan = planned(lambda m, x: F.max_pool2d(x @ x.mT, 3, 1, 1), torch.randn(2, 3, 8, 8))
    assert [getattr(step, "epilogue", None) for step in plan.steps] == [None, None]


def test_pools_of_other_sizes_are_kernels_of_their_own() -> None:
    plan = planned(lambda m, x: (F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 8)), torch.randn(2, 3, 8, 9))
    assert [type(step) for step in plan.steps] == [ir.KernelRegion, ir.KernelRegion]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        pytest.param(lambda m, x: F.max_pool2d(x.permute(0, 2, 3, 1), 3, 2, 1), "rearranged", id="transposed"),
        pytest.param(
            lambda m, x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), "beyond it", id="padding counted past its end"
        ),
        pytest.param(
            lambda m, x: F.max_pool2d(x, 2, return_indices=True)[1], "no kernel of ours", id="positions asked for"
        ),
    ],
)
def test_other_pools_are_left_with_the_reason(function: Function, reason: str) -> None:
    plan = plan_graph(traced(function, torch.randn(2, 3, 8, 8)), TRITON)
    assert reason in " ".join(left(plan).values())


def test_an_image_of_another_size_needs_another_plan() -> None:
    wide, narrow, more = (
        traced(lambda m, x: F.max_pool2d(x, 3), torch.randn(*shape))
        for shape in ((2, 3, 9, 9), (2, 3, 9, 10), (5, 3, 9, 9))
    )
    plan = plan_graph(wide)
    assert mismatch(plan, narrow) == "its shapes give other numbers"
    assert mismatch(plan, more) is None
    assert any("windows" in line for line in shape_numbers(plan, wide))


# C++, compiled and run ------------------------------------------------------------------------------------


def candidate(function: Function, x: torch.Tensor) -> torch.nn.Module:
    graph = traced(function, x)
    module = types.ModuleType("candidate")
    exec(compile(emit_cpp(plan_graph(graph), graph, {}), "candidate.py", "exec"), module.__dict__)
    made: torch.nn.Module = module.ModelNew()
    return made


def check(function: Function, x: torch.Tensor) -> None:
    got, wanted = candidate(function, x)(x), function(None, x.double())
    for mine, truth in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine.double(), truth, rtol=2e-6, atol=2e-6, equal_nan=True)


@pytest.fixture(autouse=True)
def _extensions_in_a_directory_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))


def test_kernels_pool_as_pytorch_does() -> None:
    check(lambda m, x: tuple(function(m, x) for function in ONE_KERNEL.values()), torch.randn(2, 3, 37, 70))


def test_nan_and_infinities_under_windows_end_as_in_pytorch() -> None:
    x = torch.randn(2, 3, 20, 40)
    x[0, 0, 3, 5], x[0, 1, 4, 17], x[1, 2, :9, :9] = NAN, INFINITY, -INFINITY
    check(lambda m, x: (F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 1, 1), F.max_pool2d(x, 4)), x)


WINDOWS = st.tuples(*(st.integers(1, 5) for _ in range(4)), st.booleans())


@settings(max_examples=4)
@given(st.lists(WINDOWS, min_size=6, max_size=6), st.integers(9, 60))
def test_windows_nobody_thought_of_agree_with_pytorch(
    windows: list[tuple[int, int, int, int, bool]], width: int
) -> None:
    def forward(_: Any, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = []
        for size, stride, padding, gap, up in windows:
            gap = 1 if gap * (size - 1) + 1 > 9 else gap
            results.append(F.max_pool2d(x, size, stride, min(padding, size // 2), gap, ceil_mode=up))
            results.append(F.avg_pool2d(x, size, stride, min(padding, size // 2), up, count_include_pad=False))
        return tuple(results)

    torch.manual_seed(0)
    check(forward, torch.randn(2, 2, 9, width))
