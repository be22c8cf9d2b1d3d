"""Pooling and losses over classes in Triton: values in interpreter mode against float64, kernels compiled for sm_90."""

from pathlib import Path
from typing import Any

import pytest
import triton_window_cases as cases
from candidate_reports import reports

from everforge.agents.builtin.abilities import TRITON
from everforge.agents.builtin.plan import TorchStep
from everforge.agents.builtin.planner import plan_graph
from everforge.agents.builtin.triton_emitter import emit_triton
from everforge.model.device import DeviceKind
from everforge.model.graph import TaskGraph
from everforge.runners.facts.tracing import trace_task
from everforge.runners.rules.static_rules import judge_source

pytest.importorskip("triton")


CASES: dict[str, Any] = cases.CASES


def emitted(case: Any) -> str:
    graph = trace_task(case.model(), case.inputs(), "default", ())
    assert isinstance(graph, TaskGraph)
    plan = plan_graph(graph, TRITON)
    left = [step.op for step in plan.steps if isinstance(step, TorchStep)]
    assert not [op for op in left if "pool" in op or "loss" in op]
    return emit_triton(plan, graph, case.parameters, DeviceKind.CUDA)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candidates")
    for name, case in CASES.items():
        (folder / f"{name}.py").write_text(emitted(case))
    return folder


@pytest.fixture(scope="module")
def interpreted(sources: Path) -> dict[str, Any]:
    return reports(cases, "interpret", sources)


@pytest.fixture(scope="module")
def compiled(sources: Path) -> dict[str, Any]:
    return reports(cases, "compile", sources)


@pytest.mark.parametrize("name", CASES)
def test_values_under_windows_agree_with_float64(interpreted: dict[str, Any], name: str) -> None:
    assert max(interpreted[name]["errors"]) <= CASES[name].tolerance


@pytest.mark.parametrize("name", CASES)
def test_kernels_over_windows_compile_for_sm_90_without_spills(compiled: dict[str, Any], name: str) -> None:
    assert (compiled[name]["fault"], compiled[name]["not_checked"]) == (None, None)
    assert [kernel["name"] for kernel in compiled[name]["kernels"] if kernel["stack_bytes"]] == []


@pytest.mark.parametrize("name", CASES)
def test_static_rules_let_candidates_with_windows_through(sources: Path, name: str) -> None:
    assert judge_source((sources / f"{name}.py").read_text()) is None
