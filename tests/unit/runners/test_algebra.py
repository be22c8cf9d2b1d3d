"""Which shortcuts are found in a graph, what they cost, and what is no shortcut."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from everforge.model.graph import Shortcut, TaskGraph
from everforge.runners.facts.algebra import shortcuts
from everforge.runners.facts.dataflow import Flow
from everforge.runners.facts.linearity import journey_of
from everforge.runners.facts.variant_work import notes_of
from everforge.runners.facts.zero_blocks import Shape, Zeros

GraphOf = Callable[..., TaskGraph]

LINEAR = {"linear": nn.Linear(8, 16)}
ROWS = torch.randn(4, 8)  # stated: 2·4·8·16 = 1024 FLOPs
IMAGE = torch.randn(2, 3, 10, 10)


def only(graph: TaskGraph) -> Shortcut:
    found = shortcuts(graph)
    assert len(found) == 1, found
    return found[0]


def test_sum_over_columns_leaves_one_column(graph_of: GraphOf) -> None:
    found = only(graph_of(lambda m, x: (m.linear(x) / 2 - 1).sum(1), ROWS, **LINEAR))
    assert found.flops == 2 * 4 * 8
    assert found.read_shares == {"p_linear_weight": 1 / 16, "p_linear_bias": 1 / 16}
    assert "matrix-vector" in found.reason


def test_sum_over_rows_leaves_one_row(graph_of: GraphOf) -> None:
    assert only(graph_of(lambda m, x: m.linear(x).mean(0), ROWS, **LINEAR)).flops == 2 * 8 * 16


def test_sum_over_everything_leaves_one_dot_product(graph_of: GraphOf) -> None:
    assert only(graph_of(lambda m, x: m.linear(x).sum(), ROWS, **LINEAR)).flops == 2 * 8


@pytest.mark.parametrize(
    ("forward", "flops"),
    [
        pytest.param(lambda m, a, b: torch.einsum("bik,bkj->bij", a, b).sum(2), 2 * 2 * 4 * 8, id="einsum"),
        pytest.param(lambda m, a, b: (1 - a @ b).sum(1), 2 * 2 * 8 * 5, id="rows of a batch, subtracted"),
        pytest.param(lambda m, a, b: (a @ b[0, :, 0]).sum(), 2 * 8, id="product with a vector"),
    ],
)
def test_products_of_every_spelling_are_followed(graph_of: GraphOf, forward: object, flops: float) -> None:
    assert only(graph_of(forward, torch.randn(2, 4, 8), torch.randn(2, 8, 5))).flops == flops


def test_sum_over_parts_of_the_columns_is_followed_through_views_and_casts(graph_of: GraphOf) -> None:
    graph = graph_of(lambda m, x: m.linear(x).double().view(4, 4, 4).transpose(1, 2).mean(1), ROWS, **LINEAR)
    assert only(graph).flops == 1024 / 4


def test_scale_of_each_column_stays_linear_and_of_each_element_does_not(graph_of: GraphOf) -> None:
    weighted = graph_of(
        lambda m, x: (m.linear(x) * m.scale).sum(1), ROWS, scale=nn.Parameter(torch.randn(16)), **LINEAR
    )
    assert only(weighted).flops == 2 * 4 * 8
    gated = graph_of(lambda m, x, gate: (m.linear(x) * gate).sum(1), ROWS, torch.randn(4, 16), **LINEAR)
    assert shortcuts(gated) == ()


@pytest.mark.parametrize(
    "forward",
    [
        pytest.param(lambda m, x: m.linear(x).relu().sum(1), id="relu between"),
        pytest.param(lambda m, x: m.linear(x).max(1).values, id="maximum"),
        pytest.param(lambda m, x: (1 / m.linear(x)).sum(1), id="denominator"),
        pytest.param(lambda m, x: (m.linear(x) * m.linear(x)).sum(1), id="square"),
        pytest.param(lambda m, x: (lambda y: (y.sum(1), y.relu()))(m.linear(x)), id="also used in full"),
        pytest.param(lambda m, x: m.linear(x), id="result itself"),
    ],
)
def test_what_needs_every_column_is_no_shortcut(graph_of: GraphOf, forward: object) -> None:
    assert shortcuts(graph_of(forward, ROWS, **LINEAR)) == ()


@pytest.mark.parametrize(
    ("layer", "pool", "flops"),
    [
        pytest.param(nn.Conv2d(3, 5, 3), lambda y: y.mean((2, 3)), 2 * 2 * 5 * 27, id="mean of places"),
        pytest.param(
            nn.Conv2d(3, 5, 3), lambda y: functional.adaptive_avg_pool2d(y, 1), 2 * 2 * 5 * 27, id="pool to 1"
        ),
        pytest.param(nn.Conv2d(3, 5, 3), lambda y: functional.avg_pool2d(y, 4), 2 * 2 * 5 * 27 * 4, id="tiles of 16"),
        pytest.param(nn.Conv2d(3, 5, 3), lambda y: y.sum(1), 2 * 2 * 27 * 64, id="sum of channels"),
        pytest.param(nn.ConvTranspose2d(3, 5, 3, stride=2), lambda y: y.sum((2, 3)), 2 * 2 * 3 * 45, id="transposed"),
    ],
)
def test_convolution_that_is_averaged_needs_one_window(
    graph_of: GraphOf, layer: nn.Module, pool: object, flops: float
) -> None:
    assert only(graph_of(lambda m, x: pool(m.layer(x)), IMAGE, layer=layer)).flops == flops  # type: ignore[operator]


def test_two_linear_layers_in_a_row_are_one_made_at_load(graph_of: GraphOf) -> None:
    found = only(graph_of(nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 4)), ROWS))
    assert found.flops == 2 * 4 * 8 * 4
    assert found.read_shares["p_0_weight"] == 8 * 4 / (8 * 64 + 64 * 4)
    assert shortcuts(graph_of(nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 4)), ROWS)) == ()


def test_attention_without_softmax_is_bracketed_the_other_way(graph_of: GraphOf) -> None:
    q = torch.randn(2, 32, 4)
    found = only(graph_of(lambda m, q, k, v: (q @ k.mT * 0.5) @ v, q, q.clone(), q.clone()))
    assert found.flops == 2 * 2 * (4 * 32 * 4 + 32 * 4 * 4)  # stated: 2·2·32·32·8


def test_product_read_from_the_left_is_bracketed_the_other_way(graph_of: GraphOf) -> None:
    short, tall = torch.randn(2, 64), torch.randn(64, 8)
    found = only(graph_of(lambda m, c, a: c @ m.linear(a), short, tall, **LINEAR))
    assert found.flops == 2 * (2 * 64 * 8 + 2 * 8 * 16)  # stated: 2·(64·8·16 + 2·64·16)


def test_product_of_looked_up_rows_can_be_looked_up(graph_of: GraphOf) -> None:
    found = only(graph_of(nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 16)), torch.arange(4)))
    assert found.flops == 0


@pytest.mark.parametrize(
    ("forward", "flops"),
    [
        pytest.param(lambda m, a, b: a.triu() @ b, 2 * 6 * 21, id="triangle"),  # 1 + … + 6 = 21 of 36
        pytest.param(lambda m, a, b: a.triu() @ b.triu(), 2 * 56, id="two upper"),  # 6·7·8 / 6
        pytest.param(lambda m, a, b: a.triu() @ b.tril(), 2 * 91, id="upper and lower"),  # 1 + 4 + … + 36
        pytest.param(lambda m, a, b: a.tril().T @ b.triu(), 2 * 56, id="transposed"),
        pytest.param(lambda m, a, b: torch.diag(a[0]) @ b, 2 * 36, id="diagonal"),
        pytest.param(lambda m, a, b: functional.linear(b, a.tril(-1)), 2 * 6 * 15, id="strict triangle"),
    ],
)
def test_zeros_of_a_triangle_need_no_multiplying(graph_of: GraphOf, forward: object, flops: float) -> None:
    square = torch.randn(6, 6)
    assert only(graph_of(forward, square, square.clone())).flops == flops


def test_triangle_seen_in_an_inputs_values_counts_as_one(graph_of: GraphOf) -> None:
    square = torch.randn(6, 6)
    graph = graph_of(lambda m, a, b: a @ b, square, square.clone())
    names = [node.id for node in graph.nodes if node.op == "input"]
    upper = Zeros(Shape.UPPER)
    assert shortcuts(graph, dict.fromkeys(names, upper))[0].flops == 2 * 56


def test_note_tells_both_flop_counts(graph_of: GraphOf) -> None:
    graph = graph_of(lambda m, x: m.linear(x).sum(1), ROWS, **LINEAR)
    (note,) = notes_of(graph, shortcuts(graph))
    assert "64 FLOPs are enough where the reference states 1.02e+03" in note


def test_operations_without_effect_are_told(graph_of: GraphOf) -> None:
    graph = graph_of(lambda m, x: torch.logsumexp(x.amax(1, keepdim=True), 1), ROWS)
    assert notes_of(graph, ()) == (
        "variant main: logsumexp works along a dimension of size 1, where there is nothing to reduce",
    )


def test_parameters_that_a_module_reads_out_of_sight_are_not_told(graph_of: GraphOf) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls.add_(1)
            return self.linear(x)

    assert notes_of(graph_of(Counting(), ROWS), ()) == ()


def test_parameter_that_is_never_read_is_told(graph_of: GraphOf) -> None:
    graph = graph_of(lambda m, x: x * 2, ROWS, weight=nn.Parameter(torch.randn(3)))
    assert notes_of(graph, ()) == ("variant main: parameter weight is never read",)


STEPS = {
    "split rows": lambda y: y.unflatten(0, (2, -1)) if y.dim() and y.shape[0] % 2 == 0 else y,
    "split columns": lambda y: y.unflatten(-1, (-1, 2)) if y.dim() and y.shape[-1] % 2 == 0 else y,
    "turn": lambda y: y.permute(list(reversed(range(y.dim())))),
    "flatten": lambda y: y.flatten(),
    "sum first": lambda y: y.sum(0) if y.dim() else y,
    "mean last, kept": lambda y: y.mean(-1, keepdim=True) if y.dim() else y,
    "broadcast": lambda y: y + torch.ones(3, *y.shape),
    "scale": lambda y: y * 0.5 - 1,
}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=5))
def test_tracked_factors_always_multiply_up_to_the_elements_there_are(graph_of: GraphOf, steps: list[str]) -> None:
    def forward(module: object, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        y = x @ weight
        for step in steps:
            y = STEPS[step](y)
        return y.exp()

    graph = graph_of(forward, torch.randn(4, 3), torch.randn(3, 8))
    flow = Flow(graph.nodes)
    product = next(node for node in graph.nodes if node.op.startswith("aten.matmul"))
    journey = journey_of(product, flow, frozenset())
    assert journey is not None
    for _, name, dims in journey.ends:
        meta = flow.meta(name)
        assert meta is not None
        sizes = [torch.Size([factor.size for factor in dim]).numel() for dim in dims]
        assert sizes == list(meta.shape)
