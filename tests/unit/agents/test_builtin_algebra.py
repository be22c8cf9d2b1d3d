"""Algebra: every rewrite computes the reference in float64, is named, and is left beside the task as it is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import graph_interpreter as graphs
import plan_interpreter as interpreter
import product_cases as cases
import pytest
import torch
from candidate_reports import reports
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from everforge.agents.builtin import plan as ir
from everforge.agents.builtin.abilities import BASIC, TRITON
from everforge.agents.builtin.algebra import Rewritten, rewritten
from everforge.agents.builtin.cpp_emitter import emit_cpp
from everforge.agents.builtin.generator import BuiltinGenerator
from everforge.agents.builtin.graph_view import state_nodes
from everforge.agents.builtin.planner import plan_graph
from everforge.agents.builtin.shape_bound import shape_numbers
from everforge.agents.builtin.triton_emitter import emit_triton
from everforge.model.budget import Spend
from everforge.model.candidate import Candidate
from everforge.model.device import DeviceKind
from everforge.model.graph import TaskGraph
from everforge.model.trial import Trial
from everforge.runners.facts.tracing import trace_task
from everforge.runners.rules.static_rules import judge_source
from everforge.search.generator import SearchContext
from everforge.testing import samples

Vector, normed = cases.Vector, cases.normed
REWRITTEN: dict[str, Any] = cases.REWRITTEN
Function = Callable[..., torch.Tensor]


def changed(function: Function, *inputs: torch.Tensor, parts: tuple[nn.Module, ...] = ()) -> Rewritten | None:
    """The rewritten graph, after checking that it and the plans of it compute the reference."""
    graph = interpreter.traced(function, *inputs, parts=parts)
    found = rewritten(graph)
    if found is None:
        return None
    model = interpreter.Reference(function, *parts).eval()
    with torch.no_grad():
        wanted = model.double()(*(x.double() for x in inputs))
        state = model.state_dict()
        plans = [plan_graph(found.graph, abilities, found.rewrites) for abilities in (BASIC, TRITON)]
        results = [graphs.run_graph(found.graph, state, inputs)]
        results += [interpreter.run_plan(plan, model, inputs) for plan in plans]
    for (result,) in results:
        torch.testing.assert_close(result.double(), wanted, rtol=1e-9, atol=1e-9)
    return found


def operations(found: Rewritten | None) -> list[str]:
    """What is computed at each call, in ATen's short names."""
    assert found is not None
    at_load = state_nodes(found.graph)
    called = [node for node in found.graph.nodes if node.op.startswith("aten") and node.id not in at_load]
    return [node.op.split(".")[1] for node in called]


def vector(*shape: int) -> nn.Module:
    made: nn.Module = Vector(*shape)
    return made


# each rewrite ----------------------------------------------------------------------------------------------

FOLDS: dict[str, Function] = {
    "scale": lambda m, x: m[0](x) * m[1].values,
    "scale first": lambda m, x: m[1].values * m[0](x),
    "number": lambda m, x: m[0](x) / 3,
    "shift": lambda m, x: m[0](x) + m[1].values - 2,
    "subtracted from": lambda m, x: m[1].values - m[0](x),
    "from a number": lambda m, x: 1 - m[0](x),
    "sign": lambda m, x: -m[0](x),
    "batch norm": lambda m, x: m[2](m[0](x)),
    "norm of a scale": lambda m, x: m[2](m[0](x) * m[1].values),
    "row of extent one": lambda m, x: m[0](x) * m[1].values.unsqueeze(0),
}


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize("bias", [True, False])
def test_scales_shifts_and_norms_become_part_of_the_layer(name: str, bias: bool) -> None:
    parts = (nn.Linear(8, 6, bias=bias), vector(6), normed(nn.BatchNorm1d(6)))
    found = changed(FOLDS[name], torch.randn(4, 8), parts=parts)
    assert [op for op in operations(found) if op not in ("permute", "reshape")] == ["linear"]
    assert found is not None
    assert all("folded into the" in rewrite for rewrite in found.rewrites)


def test_matrix_of_parameters_is_a_layer_too() -> None:
    found = changed(lambda m, x: torch.tanh(x @ m[0].values * 2 + 1), torch.randn(4, 8), parts=(vector(8, 6),))
    assert operations(found) == ["linear", "tanh"]


BEFORE: dict[str, Function] = {
    "scale": lambda m, x: m[0](x * m[1].values),
    "shift": lambda m, x: m[0](x - m[1].values),
    "number": lambda m, x: m[0](x * 2 + 1),
    "batch norm": lambda m, x: m[0](m[2](x)),
}


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("bias", [True, False])
def test_what_scales_the_columns_before_a_layer_becomes_part_of_it(name: str, bias: bool) -> None:
    parts = (nn.Linear(8, 6, bias=bias), vector(8), normed(nn.BatchNorm1d(8)))
    assert operations(changed(BEFORE[name], torch.randn(4, 8), parts=parts)) == ["linear"]


@pytest.mark.parametrize("bias", [True, False])
def test_norm_behind_a_convolution_saves_the_second_pass(bias: bool) -> None:
    parts = (nn.Conv2d(3, 6, 3, bias=bias, padding=1), normed(nn.BatchNorm2d(6)), vector(6, 1, 1))
    found = changed(lambda m, x: torch.relu(m[1](m[0](x) * m[2].values)), torch.randn(2, 3, 5, 5), parts=parts)
    assert operations(found) == ["conv2d", "relu"]


SUMS: dict[str, Function] = {
    "sum": lambda m, x: m[0](x).sum(1),
    "kept": lambda m, x: m[0](x).sum(-1, keepdim=True),
    "mean": lambda m, x: m[0](x).mean(1),
    "everything": lambda m, x: m[0](x).mean(),
    "of a scale": lambda m, x: ((m[0](x) - m[1].values) / 2).sum(1),
}


@pytest.mark.parametrize("name", SUMS)
def test_sum_of_a_layers_outputs_needs_no_matrix(name: str) -> None:
    found = changed(SUMS[name], torch.randn(4, 8), parts=(nn.Linear(8, 6), vector(6)))
    assert "linear" not in operations(found)
    assert found is not None
    assert found.rewrites[-1].endswith("of a product's columns as a product with a vector")
    plan = plan_graph(found.graph, TRITON, found.rewrites)
    assert {type(step) for step in plan.steps if not (isinstance(step, ir.TorchStep) and step.once)} == {
        ir.KernelRegion
    }


def test_sum_of_a_product_of_inputs_needs_no_matrix() -> None:
    found = changed(lambda m, a, b: (a @ b).sum(-1), torch.randn(4, 8), torch.randn(8, 6))
    assert "matmul" not in operations(found)


def test_sum_of_a_layer_and_a_residual_is_the_sum_of_both() -> None:
    found = changed(
        lambda m, x, y: (m[0](x) + y).sum(1), torch.randn(4, 8), torch.randn(4, 6), parts=(nn.Linear(8, 6),)
    )
    assert "linear" not in operations(found)


def test_sum_over_the_batch_alone_keeps_its_product() -> None:
    assert changed(lambda m, x: m[0](x).sum(0), torch.randn(4, 8), parts=(nn.Linear(8, 6),)) is None


def test_reductions_of_single_elements_are_left_out() -> None:
    def forward(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(m[0](x)).sum(1, keepdim=True)
        return torch.logsumexp(torch.logsumexp(y.mean(1, keepdim=True), 1, keepdim=True), 1, keepdim=True)

    found = changed(forward, torch.randn(4, 8), parts=(nn.Linear(8, 6),))
    assert not {"logsumexp", "mean"} & set(operations(found))


@pytest.mark.parametrize("side", ["left", "right"])
def test_diagonal_matrix_is_a_scale(side: str) -> None:
    function = (lambda m, a, b: torch.diag(a) @ b) if side == "left" else (lambda m, a, b: b @ torch.diag(a))
    assert operations(changed(function, torch.randn(5), torch.randn(5, 5)))[-1] == "mul"


def test_layers_with_nothing_between_them_are_one() -> None:
    parts = (nn.Linear(8, 30), nn.Linear(30, 6))
    found = changed(lambda m, x: torch.relu(m[1](m[0](x))), torch.randn(4, 8), parts=parts)
    assert operations(found) == ["linear", "relu"]


def test_layers_through_a_narrow_middle_stay_two() -> None:
    parts = (nn.Linear(8, 2), nn.Linear(2, 8))
    assert changed(lambda m, x: m[1](m[0](x)), torch.randn(4, 8), parts=parts) is None


def test_product_of_three_is_bracketed_the_cheaper_way() -> None:
    right = changed(lambda m, a, b, c: (a @ b) @ c, torch.randn(5, 6), torch.randn(6, 7), torch.randn(7, 1))
    left = changed(lambda m, a, b, c: a @ (b @ c), torch.randn(1, 6), torch.randn(6, 7), torch.randn(7, 9))
    assert right is not None
    assert left is not None
    assert (right.rewrites, left.rewrites) == (
        ("products bracketed from the right",),
        ("products bracketed from the left",),
    )
    assert changed(lambda m, a, b, c: (a @ b) @ c, torch.randn(1, 6), torch.randn(6, 7), torch.randn(7, 9)) is None


def test_values_of_parameters_alone_are_made_at_load() -> None:
    found = changed(lambda m, x: x * torch.softmax(m[0].values, 0), torch.randn(4, 6), parts=(vector(6),))
    assert operations(found) == ["mul"]


UNCHANGED: dict[str, Function] = {
    "product read twice": lambda m, x: torch.relu(y := m[0](x)) + y * m[1].values,
    "scale of rows": lambda m, x: m[0](x) * x[:, :1],
    "activation between": lambda m, x: torch.relu(m[0](x)) * m[1].values,
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_cannot_be_folded_is_left(name: str) -> None:
    assert changed(UNCHANGED[name], torch.randn(4, 8), parts=(nn.Linear(8, 6), vector(6))) is None


# graphs nobody thought of ----------------------------------------------------------------------------------

STEPS: dict[str, Callable[[nn.ModuleList, torch.Tensor], torch.Tensor]] = {
    "layer": lambda m, x: m[0](x),
    "wide layer": lambda m, x: m[2](m[1](x)),
    "matrix": lambda m, x: x @ m[3].values,
    "scale": lambda m, x: x * m[4].values,
    "shift": lambda m, x: m[4].values - x,
    "number": lambda m, x: x / 2 + 1,
    "norm": lambda m, x: m[5](x),
    "tanh": lambda m, x: torch.tanh(x),
    "residual": lambda m, x: x + torch.sin(x),
    "diagonal": lambda m, x: x @ torch.diag(m[4].values),
    "row sum": lambda m, x: x - x.sum(1, keepdim=True) * 0.1,
    "sum of single": lambda m, x: x + x.mean(1, keepdim=True).logsumexp(1, keepdim=True),
}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=7), st.sampled_from(["sum", "mean", "none"]))
def test_any_chain_of_layers_is_rewritten_to_the_same_values(names: list[str], end: str) -> None:
    torch.manual_seed(0)
    parts = (
        nn.Linear(6, 6),
        nn.Linear(6, 20),
        nn.Linear(20, 6, bias=False),
        vector(6, 6),
        vector(6),
        normed(nn.BatchNorm1d(6)),
    )

    def forward(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
        for name in names:
            x = STEPS[name](m, x)
        return x if end == "none" else getattr(x, end)(1)

    changed(forward, torch.randn(3, 6), parts=parts)


# candidates ------------------------------------------------------------------------------------------------


def graph_of(case: Any) -> TaskGraph:
    graph = trace_task(case.model(), case.inputs(), "default", ())
    assert isinstance(graph, TaskGraph)
    return graph


def found_in(case: Any) -> Rewritten:
    found = rewritten(graph_of(case))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("triton")
    folder = tmp_path_factory.mktemp("rewritten")
    for name, case in REWRITTEN.items():
        found = found_in(case)
        plan = plan_graph(found.graph, TRITON, found.rewrites)
        (folder / f"{name}.py").write_text(emit_triton(plan, found.graph, case.parameters, DeviceKind.CUDA))
    return folder


@pytest.fixture(scope="module")
def interpreted(sources: Path) -> dict[str, Any]:
    return reports(cases, "interpret", sources)


@pytest.fixture(scope="module")
def compiled(sources: Path) -> dict[str, Any]:
    return reports(cases, "compile", sources)


@pytest.mark.parametrize("name", REWRITTEN)
def test_rewritten_candidates_agree_with_float64(interpreted: dict[str, Any], name: str) -> None:
    assert max(interpreted[name]["errors"]) <= REWRITTEN[name].tolerance


@pytest.mark.parametrize("name", REWRITTEN)
def test_what_was_made_at_load_is_made_again_after_loading_other_parameters(
    interpreted: dict[str, Any], name: str
) -> None:
    assert max(interpreted[name]["errors_after_reload"]) <= REWRITTEN[name].tolerance


@pytest.mark.parametrize("name", [name for name in REWRITTEN if "torch" not in name])
def test_rewritten_kernels_compile_for_sm_90(compiled: dict[str, Any], name: str) -> None:
    assert compiled[name]["fault"] is None
    assert compiled[name]["not_checked"] is None


@pytest.mark.parametrize("name", REWRITTEN)
def test_static_rules_let_rewritten_candidates_through(sources: Path, name: str) -> None:
    assert judge_source((sources / f"{name}.py").read_text()) is None


@pytest.mark.parametrize("name", REWRITTEN)
def test_source_names_its_rewrites(sources: Path, name: str) -> None:
    source = (sources / f"{name}.py").read_text()
    assert all(f"algebra: {rewrite}" in source for rewrite in found_in(REWRITTEN[name]).rewrites)


def test_weights_made_at_load_are_kept_at_the_products_precision(sources: Path) -> None:
    source = (sources / "norm-behind-layer-persistent-bf16.py").read_text()
    assert "_prepare(" in source
    assert ".to(torch.bfloat16)" in source.partition("def _prepare(")[2].partition("class ModelNew")[0]


def test_cpp_candidates_prepare_at_load_too() -> None:
    found = found_in(REWRITTEN["norm-behind-layer-tile-fp32"])
    source = emit_cpp(plan_graph(found.graph, BASIC, found.rewrites), found.graph, {})
    assert "= _prepared(self._copies, _prepare, (" in source


def test_rewritten_plan_serves_other_shapes() -> None:
    found = found_in(REWRITTEN["norm-behind-layer-tile-fp32"])
    assert list(shape_numbers(plan_graph(found.graph, TRITON, found.rewrites), found.graph)) == []


# the generator ---------------------------------------------------------------------------------------------


def proposals(
    graph: TaskGraph, count: int, speedup: Callable[[Candidate], float] = lambda candidate: 1.5
) -> list[Candidate]:
    """What the generator proposes one after another."""
    spec = samples.campaign_spec(device=DeviceKind.CUDA)
    facts = samples.task_facts()
    shown = tuple(variant.model_copy(update={"graph": graph}) for variant in facts.variants)
    facts, trials = facts.model_copy(update={"variants": shown}), list[Trial]()
    for number in range(count):
        context = SearchContext(spec=spec, facts=facts, trials=tuple(trials), spent=Spend())
        proposal = BuiltinGenerator().propose(context)
        assert proposal is not None
        assert proposal.candidate is not None
        trials.append(samples.trial(number, spec, speedup=speedup(proposal.candidate), proposed=proposal.candidate))
    return [trial.candidate for trial in trials]


def test_task_as_written_is_proposed_before_its_rewrites() -> None:
    plain, changed_one = proposals(graph_of(REWRITTEN["row-sums"]), 2)
    assert plain.rewrites == ()
    assert changed_one.rewrites == found_in(REWRITTEN["row-sums"]).rewrites
    assert changed_one.strategy.endswith(", rewritten")


def test_half_of_the_trials_are_of_the_task_as_written() -> None:
    tried = proposals(graph_of(REWRITTEN["merged-layers"]), 8, lambda candidate: 9.0 if candidate.rewrites else 1.1)
    assert sum(not candidate.rewrites for candidate in tried) == 4


def test_task_without_algebra_declares_none() -> None:
    graph = interpreter.traced(lambda m, x: F.gelu(m[0](x)), torch.randn(4, 8), parts=(nn.Linear(8, 6),))
    assert all(candidate.rewrites == () for candidate in proposals(graph, 3))
