"""What is seen in the values of inputs: triangles, masks, repetition, and that plain draws show nothing."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.graph import TaskGraph, TraceFailure
from everforge.runners.facts.input_structure import KnownInputs, known_inputs
from everforge.runners.facts.zero_blocks import Shape

NAME = "inputs_0"
Seen = Callable[[torch.Tensor, torch.Tensor], KnownInputs]


@pytest.fixture(scope="module")
def graph(graph_of: Callable[..., TaskGraph]) -> TaskGraph:
    """A task with one input, which the tracer calls by this name."""
    graph = graph_of(lambda m, x: x * 2, torch.randn(6, 6))
    assert [node.id for node in graph.nodes if node.op == "input"] == [NAME]
    return graph


@pytest.fixture(scope="module")
def seen(graph: TaskGraph) -> Seen:
    """What two draws of that input have in common."""
    return lambda one, other: known_inputs(graph, ([one], [other]))


@given(st.integers(0, 1 << 32))
def test_plain_draws_show_nothing(seen: Seen, seed: int) -> None:
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
def test_zeros_of_a_triangle_in_both_draws_are_a_structure(seen: Seen, cut: object, shape: Shape) -> None:
    both = seen(cut(torch.randn(6, 6)), cut(torch.randn(6, 6)))  # type: ignore[operator]
    assert {name: zeros.shape for name, zeros in both.zeros.items()} == {NAME: shape}
    assert seen(cut(torch.randn(6, 6)), torch.randn(6, 6)).zeros == {}  # type: ignore[operator]


@pytest.mark.parametrize("value", [0.0, float("-inf"), -1e9], ids=str)
def test_value_that_fills_a_part_of_an_input_is_not_counted(seen: Seen, value: float) -> None:
    masked = torch.arange(1.0, 37.0).reshape(6, 6)
    masked[:, ::2] = value
    assert seen(masked, masked + 1).dense == {NAME: pytest.approx(0.5)}


def test_input_that_is_the_same_in_every_draw_is_not_counted(seen: Seen) -> None:
    assert seen(torch.arange(36.0).reshape(6, 6), torch.arange(36.0).reshape(6, 6)).dense == {NAME: 0.0}


def test_nothing_is_claimed_of_inputs_that_do_not_match_the_graph(graph: TaskGraph) -> None:
    assert known_inputs(graph, ([], [])).dense == {NAME: 0.0}
    assert known_inputs(TraceFailure(variant="main", reason="no"), ([], [])) == KnownInputs()
