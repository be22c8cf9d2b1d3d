"""Triton candidates: their values in interpreter mode against float64, and their kernels compiled for sm_90."""

from pathlib import Path
from typing import Any

import pytest
import triton_cases as cases
from candidate_reports import reports

from everforge.agents.builtin.abilities import TRITON
from everforge.agents.builtin.planner import plan_graph
from everforge.agents.builtin.triton_emitter import emit_triton, triton_space
from everforge.model.device import DeviceKind
from everforge.model.graph import TaskGraph
from everforge.runners.facts.tracing import trace_task
from everforge.runners.rules.static_rules import judge_source

pytest.importorskip("triton")


CASES: dict[str, Any] = cases.CASES


def traced(case: Any) -> TaskGraph:
    graph = trace_task(case.model(), case.inputs(), "default", ())
    assert isinstance(graph, TaskGraph)
    return graph


def emitted(case: Any, device: DeviceKind = DeviceKind.CUDA) -> str:
    if case.plan is not None:
        return emit_triton(case.plan(), TaskGraph(variant="default", nodes=(), results=()), case.parameters, device)
    graph = traced(case)
    return emit_triton(plan_graph(graph, TRITON), graph, case.parameters, device)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candidates")
    for name, case in CASES.items():
        (folder / f"{name}.py").write_text(emitted(case))
    return folder


@pytest.fixture(scope="module")
def interpreted(sources: Path) -> dict[str, Any]:
    return reports(cases, "interpret", sources)


# One of each kind of kernel: whole rows, swept, split, scanned, across memory, flat, tiled, every product.
IN_FORMS = (
    *("softmax", "logsumexp-swept", "softmax-and-peak-edges-split", "mish-by-hand", "layernorm", "groupnorm-swept"),
    *("mean-of-all", "chain", "flat-chain", "cumsum", "linear-softmax-bf16", "linear-torch-bf16", "bmm-tile"),
    *(
        "folds-outer-split",
        "folds-middle-held",
        "positions-swept",
        "softmax-middle-split",
        "cumsum-reverse-middle-swept",
    ),
    *("sum-of-columns", "cumsum-masked", "norm-fp16-input", "transposed-result", "groupnorm-split"),
    *("linear-persistent-tf32", "matmul-tile-fp16", "matmul-persistent-fp16"),
)


@pytest.fixture(scope="module")
def in_forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("in_forms")
    for name in IN_FORMS:
        (folder / f"{name}.py").write_text(emitted(CASES[name]))
    return reports(cases, "forms", folder)


@pytest.fixture(scope="module")
def compiled(sources: Path) -> dict[str, Any]:
    return reports(cases, "compile", sources)


@pytest.mark.parametrize("name", CASES)
def test_values_agree_with_float64(interpreted: dict[str, Any], name: str) -> None:
    assert max(interpreted[name]["errors"]) <= CASES[name].tolerance


@pytest.mark.parametrize("name", CASES)
def test_loading_parameters_again_takes_effect(interpreted: dict[str, Any], name: str) -> None:
    assert max(interpreted[name]["errors_after_reload"]) <= CASES[name].tolerance


@pytest.mark.parametrize("name", IN_FORMS)
def test_values_agree_in_every_form_of_the_inputs(in_forms: dict[str, Any], name: str) -> None:
    assert {"transposed in memory", "at an odd offset", "times 0.01", "times 32"} <= set(in_forms[name])
    for label, (own, eager) in in_forms[name].items():
        # Large values before a clamp or a sigmoid cost eager digits, too.
        assert max(own) <= max(CASES[name].tolerance, 4 * max(eager)), label


def test_empty_batches_are_taken(in_forms: dict[str, Any]) -> None:
    assert sum("empty batch" in found for found in in_forms.values()) >= 10


@pytest.mark.parametrize("name", CASES)
def test_kernels_compile_for_sm_90(compiled: dict[str, Any], name: str) -> None:
    assert compiled[name]["fault"] is None
    assert compiled[name]["not_checked"] is None


# Left out: products of a few dozen rows in the largest tiles, and sine, whose reduction of large arguments needs stack.
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("linear-") and name != "operations"])
def test_kernels_do_not_spill_registers(compiled: dict[str, Any], name: str) -> None:
    assert [kernel["name"] for kernel in compiled[name]["kernels"] if kernel["stack_bytes"]] == []


def test_persistent_product_uses_the_copy_engine_and_warpgroups(compiled: dict[str, Any]) -> None:
    kernels = compiled["linear-persistent-bf16"]["kernels"]
    assert all({"wgmma", "tma"} <= set(kernel["features"]) for kernel in kernels)
    assert {kernel["name"] for kernel in kernels} == {"product_0_persistent", "product_1_persistent"}


@pytest.mark.parametrize("name", CASES)
def test_static_rules_let_the_candidate_through(sources: Path, name: str) -> None:
    assert judge_source((sources / f"{name}.py").read_text()) is None


def test_first_value_of_every_parameter_is_the_default() -> None:
    graph = traced(CASES["softmax"])
    plan = plan_graph(graph, TRITON)
    defaults = {name: values[0] for name, values in triton_space(plan, "fp32", DeviceKind.CUDA).items()}
    assert emit_triton(plan, graph, defaults, DeviceKind.CUDA) == emit_triton(plan, graph, {}, DeviceKind.CUDA)


def test_register_mode_is_an_xpu_option_alone() -> None:
    plan = plan_graph(traced(CASES["softmax"]), TRITON)
    assert "grf_mode" in triton_space(plan, "fp32", DeviceKind.XPU)
    assert "grf_mode" not in triton_space(plan, "fp32", DeviceKind.CUDA)


def test_what_products_alone_read_is_stored_at_their_precision() -> None:
    source = emitted(CASES["linear-persistent-bf16"])
    assert source.count("dtype=torch.bfloat16, device=device)") == 1


@pytest.mark.parametrize("name", ["linear-softmax-bf16", "linear-softmax-torch"])
def test_product_that_a_row_program_reads_is_never_widened(name: str) -> None:
    source = emitted(CASES[name])
    assert ".float()" not in source
    assert source.count("dtype=torch.bfloat16, device=device)") == ("persistent" in source)


def test_log_sum_exp_reads_its_rows_once() -> None:
    source = emitted(CASES["logsumexp-swept"])
    assert source.count("for start in range(0, COLUMNS, BLOCK)") == 1


def test_mish_written_by_hand_needs_one_exponential() -> None:
    source = emitted(CASES["mish-by-hand"])
    assert "_tanh" not in source
    assert "_log1p" not in source


@pytest.mark.parametrize(
    ("name", "shown"), [("softmax-edges", "tl.max("), ("softmax-and-peak-edges", "_row_max(")], ids=["sum", "stored"]
)
def test_maximum_looks_for_nan_only_where_no_sum_shows_it(name: str, shown: str) -> None:
    line = next(line for line in emitted(CASES[name]).splitlines() if line.strip().startswith("row_max_"))
    assert shown in line


def test_plain_fp32_products_start_at_the_vendors() -> None:
    plan = plan_graph(traced(CASES["bmm-tile"]), TRITON)
    kernels = [values[0] for name, values in triton_space(plan, "fp32", DeviceKind.CUDA).items() if "kernel" in name]
    assert kernels == ["torch"]
