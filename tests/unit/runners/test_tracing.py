"""What the trace of a reference says: operations, state by name, sizes, cost; and when there is none."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from everforge.model.graph import GraphNode, TaskGraph, TraceFailure
from everforge.runners.facts.tracing import trace_task


class Tail(nn.Module):
    """A linear layer with a normalised tail, and a buffer nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(32, 16))
        self.norm = nn.GroupNorm(4, 16)
        self.register_buffer("unread", torch.zeros(5))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = functional.gelu(self.norm(self.net(x)))
        return torch.softmax(y, 1), y


def traced(model: nn.Module, *inputs: torch.Tensor) -> TaskGraph:
    graph = trace_task(model.eval(), inputs, "first", [])
    assert isinstance(graph, TaskGraph), graph
    return graph


def node(graph: TaskGraph, op: str) -> GraphNode:
    return next(node for node in graph.nodes if node.op.startswith(op))


def test_high_level_operations_are_kept() -> None:
    graph = traced(Tail(), torch.randn(8, 32))
    calls = [node.op for node in graph.nodes if node.op.startswith("aten.")]
    assert calls == ["aten.linear.default", "aten.group_norm.default", "aten.gelu.default", "aten.softmax.int"]


def test_state_is_listed_by_qualified_name_read_or_not() -> None:
    graph = traced(Tail(), torch.randn(8, 32))
    targets = {node.target: node.op for node in graph.nodes if node.op in ("parameter", "buffer")}
    assert targets == {
        "net.0.weight": "parameter",
        "net.0.bias": "parameter",
        "norm.weight": "parameter",
        "norm.bias": "parameter",
        "unread": "buffer",
    }


def test_results_and_their_structure_are_recorded() -> None:
    graph = traced(Tail(), torch.randn(8, 32))
    assert [result.node for result in graph.results] == ["softmax", "gelu"]
    assert graph.structure == "tuple"


def test_trace_survives_json() -> None:
    graph = trace_task(Tail().eval(), [torch.randn(8, 32)], "first", [32, "same"])
    assert TaskGraph.model_validate_json(graph.model_dump_json()) == graph


def test_flops_are_two_for_each_multiplication_of_products() -> None:
    class Product(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a @ b

    assert traced(Product(), torch.randn(5, 7), torch.randn(7, 3)).flops == 2 * 5 * 7 * 3
    assert traced(Product(), torch.randn(2, 5, 7), torch.randn(2, 7, 3)).flops == 2 * 2 * 5 * 7 * 3


def test_flops_of_a_grouped_convolution() -> None:
    graph = traced(nn.Conv2d(8, 12, 3, groups=4), torch.randn(2, 8, 10, 10))
    assert graph.flops == 2 * (2 * 12 * 8 * 8) * (2 * 3 * 3)


def test_bytes_count_inputs_used_parameters_and_outputs_once() -> None:
    graph = traced(Tail(), torch.randn(8, 32))
    parameters = 16 * 32 + 16 + 16 + 16
    assert graph.bytes == 4 * (8 * 32 + parameters + 2 * 8 * 16)


def test_embedding_counts_the_rows_it_reads() -> None:
    graph = traced(nn.Embedding(1000, 64), torch.arange(4))
    assert graph.bytes == 4 * 8 + 2 * 4 * 4 * 64


def test_expanded_input_is_moved_once() -> None:
    class Double(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    assert traced(Double(), torch.randn(1, 16).expand(8, 16)).bytes == 4 * (16 + 8 * 16)


def test_small_constant_travels_with_its_values() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("taps", torch.tensor([1.0, float("inf")]), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.taps

    constant = node(traced(Weighted(), torch.randn(3, 2)), "constant")
    assert constant.args == ([1.0, {"float": "inf"}],)


def test_infinite_argument_is_tagged() -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.masked_fill(x > 0, float("-inf"))

    assert node(traced(Masked(), torch.randn(4)), "aten.masked_fill").args[2] == {"float": "-inf"}


def test_data_dependent_control_flow_is_a_failure_with_reasons(capfd: pytest.CaptureFixture[str]) -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.sum() > 0 else x

    failure = trace_task(Branching(), [torch.randn(3)], "first", [])
    capfd.readouterr()  # torch.export prints the graph it gave up on
    assert isinstance(failure, TraceFailure)
    assert "torch.export" in failure.reason
    assert "torch.fx" in failure.reason


def test_what_export_refuses_is_traced_by_fx_under_its_own_names() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls.add_(1)
            return torch.relu(x)

    graph = traced(Counting(), torch.randn(3))
    assert any(not node.op.startswith("aten.") for node in graph.nodes if node.id == "relu")
