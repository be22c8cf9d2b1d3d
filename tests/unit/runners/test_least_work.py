"""The least work an honest kernel can do, against numbers counted by hand; and what is never claimed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from everforge.model.graph import TaskGraph
from everforge.model.precision import Precision
from everforge.runners.facts.least_work import LeastWork, least_work

GraphOf = Callable[..., TaskGraph]
WorkOf = Callable[..., LeastWork]

ROWS = torch.randn(4, 8)
IMAGE = torch.randn(2, 3, 10, 10)  # 600 elements


@pytest.fixture
def work_of(graph_of: GraphOf) -> WorkOf:
    """The least work of a module or a forward() on some inputs."""

    def counted(model: Any, *inputs: torch.Tensor, policy: Precision = Precision.FP32, **parts: Any) -> LeastWork:
        return least_work(graph_of(model, *inputs, **parts), policy)

    return counted


def test_linear_layer_reads_inputs_and_weights_and_writes_its_result(work_of: WorkOf) -> None:
    work = work_of(nn.Linear(8, 16), ROWS)
    assert work == LeastWork(flops=2 * 4 * 8 * 16, bytes_read=4 * (32 + 128 + 16), bytes_written=4 * 64)


def test_weights_may_be_kept_in_the_policys_dtype_and_inputs_may_not(work_of: WorkOf) -> None:
    assert work_of(nn.Linear(8, 16), ROWS, policy=Precision.BF16).bytes_read == 4 * 32 + 2 * (128 + 16)
    assert work_of(nn.Linear(8, 16), ROWS, policy=Precision.TF32).bytes_read == 4 * (32 + 128 + 16)


def test_unused_input_and_unused_parameter_are_not_read(work_of: WorkOf) -> None:
    work = work_of(lambda m, x, y: x * 2, ROWS, torch.randn(100), weight=nn.Parameter(torch.randn(100)))
    assert work.bytes_read == 4 * 32


def test_expanded_input_is_read_once_and_multiplied_once(work_of: WorkOf) -> None:
    work = work_of(nn.Linear(8, 16), torch.randn(1, 8).expand(64, 8))
    assert work.bytes_read == 4 * (8 + 128 + 16)
    assert work.flops == 2 * 1 * 8 * 16


def test_empty_batch_needs_no_weights(work_of: WorkOf) -> None:
    assert work_of(nn.Linear(8, 16), torch.randn(0, 8)) == LeastWork(0.0, 0.0, 0.0)


def test_lookup_reads_its_indices_and_of_the_table_nothing_is_certain(work_of: WorkOf) -> None:
    assert work_of(nn.Embedding(1000, 64), torch.arange(4)).bytes_read == 8 * 4
    gathered = work_of(lambda m, x, index: x.gather(1, index), ROWS, torch.zeros(4, 2, dtype=torch.int64))
    assert gathered.bytes_read == 8 * 8


@pytest.mark.parametrize(
    ("forward", "elements"),
    [
        pytest.param(lambda m, x: x[:2].exp(), 16, id="slice"),
        pytest.param(lambda m, x: (x * 2)[:, 0].exp(), 4, id="column of a product"),
        pytest.param(lambda m, x: (lambda a, b: a * b.sigmoid())(*x.chunk(2, 1)), 32, id="both halves"),
        pytest.param(lambda m, x: x.chunk(2, 1)[0].exp(), 16, id="one half"),
        pytest.param(lambda m, x: x[:, :4].triu() + 1, 10, id="triangle"),
        pytest.param(lambda m, x: x.masked_fill(x > 0, 0.0), 32, id="the mask reads it all"),
        pytest.param(lambda m, x: x.sort(1).values[:, 0], 0, id="a smallest, not counted"),
        pytest.param(lambda m, x: x.max(1).values, 32, id="maximum"),
        pytest.param(lambda m, x: functional.layer_norm(x, (8,)), 32, id="norm"),
        pytest.param(lambda m, x: x * 0 + 1, 0, id="times zero"),
    ],
)
def test_of_an_input_only_what_the_result_needs_is_read(work_of: WorkOf, forward: object, elements: int) -> None:
    assert work_of(forward, ROWS).bytes_read == 4 * elements


def test_masked_values_may_go_unread(work_of: WorkOf) -> None:
    work = work_of(lambda m, x, mask: torch.where(mask, x, 0.0), ROWS, torch.ones(4, 8, dtype=torch.bool))
    assert work.bytes_read == 32  # the mask alone, one byte each
    weighted = work_of(lambda m, x, mask: x * mask, ROWS, torch.ones(4, 8, dtype=torch.bool))
    assert weighted.bytes_read == 32


def test_view_of_an_input_is_not_written(work_of: WorkOf) -> None:
    assert work_of(lambda m, x: (x.T, x.exp()), ROWS).bytes_written == 4 * 32


def test_two_views_of_one_result_are_written_once(work_of: WorkOf) -> None:
    assert work_of(lambda m, x: (lambda y: (y, y.T))(x.exp()), ROWS).bytes_written == 4 * 32


def test_what_follows_from_parameters_alone_is_made_at_load(work_of: WorkOf) -> None:
    parts = {"a": nn.Parameter(torch.randn(8, 64)), "b": nn.Parameter(torch.randn(64, 8))}
    work = work_of(lambda m, x: x @ (m.a @ m.b), ROWS, **parts)
    assert work.flops == 2 * 4 * 8 * 8
    assert work.bytes_read == 4 * 32


def test_same_product_twice_is_made_once(work_of: WorkOf) -> None:
    forward = lambda m, x: m.linear(x).relu() + m.linear(x).exp()  # noqa: E731
    assert work_of(forward, ROWS, linear=nn.Linear(8, 16)).flops == 2 * 4 * 8 * 16


def test_product_of_which_a_part_is_used_counts_that_part(work_of: WorkOf) -> None:
    assert work_of(lambda m, x: m.linear(x)[:, :4], ROWS, linear=nn.Linear(8, 16)).flops == 2 * 4 * 8 * 4


@pytest.mark.parametrize(
    ("layer", "flops"),
    [
        pytest.param(nn.Conv2d(3, 5, 1), 2 * 2 * 5 * 3 * 100, id="1x1 directly"),
        pytest.param(nn.Conv2d(3, 5, 3), 3 * 2 * 5 * 3 * 64, id="3x3 transformed"),
        pytest.param(nn.Conv2d(3, 5, 7), 3 * 2 * 5 * 3 * 16, id="7x7 transformed"),
        pytest.param(nn.Conv2d(3, 5, 3, stride=3), 2 * 2 * 5 * 27 * 9, id="strides leave nothing to transform"),
        pytest.param(nn.Conv2d(3, 3, 3, groups=3), 3 * 2 * 3 * 64, id="depthwise"),
        pytest.param(nn.Conv2d(3, 5, 2, padding=9, dilation=9), 2 * 2 * 5 * 3 * 20 * 20, id="taps on padding"),
        pytest.param(nn.ConvTranspose2d(3, 5, 2, stride=2), 2 * 2 * 3 * 20 * 100, id="transposed"),
    ],
)
def test_convolution_by_the_cheapest_method(work_of: WorkOf, layer: nn.Module, flops: float) -> None:
    assert work_of(layer, IMAGE).flops == flops


def test_winograd_of_any_published_tile_stays_above_what_is_claimed(work_of: WorkOf) -> None:
    # F(2×2, 3×3) does 16 products for 4 outputs, F(4×4, 3×3) 36 for 16: 8 and 4.5 FLOPs for each.
    claimed = work_of(nn.Conv2d(3, 5, 3), IMAGE).flops / (2 * 5 * 3 * 64)
    assert claimed < 2 * 36 / 16 < 2 * 16 / 4 < 18


def test_large_product_may_take_one_level_of_strassen(work_of: WorkOf) -> None:
    assert work_of(nn.Linear(1024, 1024), torch.randn(1024, 1024)).flops == 2 * 1024**3 * 7 / 8


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        pytest.param({}, 6 * 6, id="full"),
        pytest.param({"is_causal": True}, 21, id="causal"),
        pytest.param({"attn_mask": torch.ones(6, 6, dtype=torch.bool)}, 0, id="mask"),
    ],
)
def test_attention_counts_the_pairs_that_no_mask_can_hide(work_of: WorkOf, options: dict[str, Any], pairs: int) -> None:
    q = torch.randn(2, 4, 6, 8)
    forward = lambda m, q, k, v: functional.scaled_dot_product_attention(q, k, v, **options)  # noqa: E731
    assert work_of(forward, q, q.clone(), q.clone()).flops == pytest.approx(2 * 2 * 8 * 8 * pairs)


def test_attention_by_hand_claims_its_second_product_only_without_a_mask(work_of: WorkOf) -> None:
    q = torch.randn(2, 6, 8)
    plain = work_of(lambda m, q, k, v: torch.softmax(q @ k.mT, -1) @ v, q, q.clone(), q.clone())
    assert plain.flops == 2 * 2 * 2 * 6 * 6 * 8
    masked = work_of(
        lambda m, q, k, v: torch.softmax((q @ k.mT).masked_fill(m.mask, float("-inf")), -1) @ v,
        q,
        q.clone(),
        q.clone(),
        mask=torch.ones(6, 6, dtype=torch.bool).triu(1),
    )
    assert masked.flops == 0


def test_mask_seen_in_an_inputs_values_takes_the_claim_back(graph_of: GraphOf) -> None:
    graph = graph_of(lambda m, a, b: a @ b, torch.randn(6, 6), torch.randn(6, 6))
    first = next(node.id for node in graph.nodes if node.op == "input")
    assert least_work(graph, Precision.FP32, {first: 0.5}) == LeastWork(0.0, 4 * (18 + 36), 4 * 36)


def test_pool_that_skips_elements_does_not_read_them(work_of: WorkOf) -> None:
    assert work_of(nn.MaxPool2d(2), IMAGE).bytes_read == 4 * 600
    assert work_of(nn.MaxPool2d(1, stride=2), IMAGE).bytes_read == 0
    assert work_of(nn.AvgPool2d(3), IMAGE).bytes_read == pytest.approx(4 * 2 * 3 * 81)


def test_operation_nobody_described_claims_nothing(work_of: WorkOf) -> None:
    assert work_of(lambda m, x: torch.linalg.inv(x[:, :4]), ROWS).bytes_read == 0


def test_buffers_a_kernel_may_hold_in_its_code_are_not_read(work_of: WorkOf) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.arange(8))
            self.register_buffer("mean", torch.zeros(8))
            self.register_buffer("table", torch.arange(512.0).reshape(64, 8), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.steps + self.mean + self.table[:4]

    assert work_of(Shifted(), ROWS).bytes_read == 4 * (32 + 8)
