"""What is seen in the values of inputs: triangles, masks, repetition, and that plain draws show nothing."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.graph import TraceFailure
from everforge.runners.input_structure import KnownInputs, known_inputs
from everforge.runners.zero_blocks import Shape


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GRAPH = _beside("traced_modules").graph_of(lambda m, x: x * 2, torch.randn(6, 6))
(NAME,) = (node.id for node in GRAPH.nodes if node.op == "input")


def seen(one: torch.Tensor, other: torch.Tensor) -> KnownInputs:
    return known_inputs(GRAPH, ([one], [other]))


@given(st.integers(0, 1 << 32))
def test_plain_draws_show_nothing(seed: int) -> None:
    torch.manual_seed(seed)
    assert seen(torch.randn(6, 6), torch.randn(6, 6)) == KnownInputs()


@pytest.mark.parametrize(
    ("cut", "shape"),
    [
        pytest.param(torch.triu, Shape.UPPER, id="upper"),
        pytest.param(torch.tril, Shape.LOWER, id="lower"),
        pytest.param(lambda x: torch.diag(torch.diag(x)), Shape.DIAGONAL, id="diagonal"),
    ],
)
def test_zeros_of_a_triangle_in_both_draws_are_a_structure(cut: object, shape: Shape) -> None:
    both = seen(cut(torch.randn(6, 6)), cut(torch.randn(6, 6)))  # type: ignore[operator]
    assert {name: zeros.shape for name, zeros in both.zeros.items()} == {NAME: shape}
    assert seen(cut(torch.randn(6, 6)), torch.randn(6, 6)).zeros == {}  # type: ignore[operator]


@pytest.mark.parametrize("value", [0.0, float("-inf"), -1e9], ids=str)
def test_value_that_fills_a_part_of_an_input_is_not_counted(value: float) -> None:
    masked = torch.arange(1.0, 37.0).reshape(6, 6)
    masked[:, ::2] = value
    assert seen(masked, masked + 1).dense == {NAME: pytest.approx(0.5)}


def test_input_that_is_the_same_in_every_draw_is_not_counted() -> None:
    assert seen(torch.arange(36.0).reshape(6, 6), torch.arange(36.0).reshape(6, 6)).dense == {NAME: 0.0}


def test_nothing_is_claimed_of_inputs_that_do_not_match_the_graph() -> None:
    assert known_inputs(GRAPH, ([], [])).dense == {NAME: 0.0}
    assert known_inputs(TraceFailure(variant="main", reason="no"), ([], [])) == KnownInputs()
