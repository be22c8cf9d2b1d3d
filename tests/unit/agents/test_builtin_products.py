"""Products however their operands lie: what becomes a kernel, its values in interpreter mode, its code for sm_90."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import plan_interpreter as interpreter
import product_cases as cases
import pytest
import torch
from candidate_reports import reports
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from everforge.agents.builtin import plan as ir
from everforge.agents.builtin.abilities import BASIC, TRITON, Abilities
from everforge.agents.builtin.gates import with_gates
from everforge.agents.builtin.planner import plan_graph
from everforge.agents.builtin.triton_emitter import emit_triton, triton_space
from everforge.agents.builtin.variants import mismatch
from everforge.model.device import DeviceKind
from everforge.model.graph import TaskGraph
from everforge.runners.facts.tracing import trace_task
from everforge.runners.rules.static_rules import judge_source

planned, traced, left = interpreter.planned, interpreter.traced, interpreter.left
CASES: dict[str, Any] = cases.CASES

Function = Callable[..., Any]


def product_of(function: Function, *shapes: tuple[int, ...], abilities: Abilities = TRITON) -> ir.MatmulRegion:
    """The only step of a plan, which computes the reference."""
    inputs = [torch.randn(shape) for shape in shapes]
    (step,) = planned(lambda m, *given: function(*given), *inputs, abilities=abilities).steps
    assert isinstance(step, ir.MatmulRegion)
    return step


# what becomes of operands ----------------------------------------------------------------------------------


@pytest.mark.parametrize("abilities", [BASIC, TRITON], ids=["cpp", "triton"])
def test_transposed_operands_are_read_as_they_lie(abilities: Abilities) -> None:
    step = product_of(lambda a, b: a.T @ b.T, (8, 5), (6, 8), abilities=abilities)
    assert (step.lhs_transposed, step.rhs_transposed, step.layouts) == (True, True, None)


def test_transposed_batches_are_read_as_they_lie() -> None:
    step = product_of(lambda q, k: torch.bmm(q.mT, k.mT), (3, 8, 5), (3, 6, 8))
    assert (step.batched, step.lhs_transposed, step.rhs_transposed, step.layouts) == (True, True, True, None)


EINSUMS = {
    "bijl,lk->bijk": ((2, 3, 4, 5), (5, 6)),
    "bqhd,bkhd->bhqk": ((2, 3, 4, 5), (2, 6, 4, 5)),
    "bthd,hde->bte": ((2, 3, 4, 5), (4, 5, 6)),
    "ij, jk": ((3, 5), (5, 4)),
}


@pytest.mark.parametrize("equation", EINSUMS)
@pytest.mark.parametrize("abilities", [BASIC, TRITON], ids=["cpp", "triton"])
def test_einsum_is_one_product_with_its_epilogue(equation: str, abilities: Abilities) -> None:
    inputs = [torch.randn(shape) for shape in EINSUMS[equation]]
    plan = planned(lambda m, a, b: torch.relu(torch.einsum(equation, a, b)), *inputs, abilities=abilities)
    assert all(reason.startswith("a view") for reason in left(plan).values())
    product = plan.steps[-1]
    assert isinstance(product, ir.MatmulRegion)
    assert product.epilogue is not None


@pytest.mark.parametrize("equation", ["ii,ij->ij", "i,j->ij", "ij,ij->ij", "ijk,jl->il", "...i,ij->...j"])
def test_einsum_that_is_no_product_is_left_to_pytorch(equation: str) -> None:
    shapes = {"ii": (4, 4), "ij": (4, 5), "i": (4,), "j": (5,), "ijk": (4, 5, 6), "jl": (5, 3), "...i": (2, 3, 4)}
    inputs = [torch.randn(shapes[letters]) for letters in equation.partition("->")[0].split(",")]
    plan = planned(lambda m, a, b: torch.einsum(equation, a, b), *inputs, abilities=TRITON)
    assert "aten.einsum.default" in left(plan)


def test_operand_that_no_strides_describe_is_copied_and_the_rest_fused() -> None:
    a, b = torch.randn(4, 8, 5), torch.randn(40, 6)
    plan = planned(lambda m, a, b: torch.relu(a.permute(0, 2, 1).reshape(4, 40) @ b), a, b, abilities=TRITON)
    assert all(reason.startswith("a view") for reason in left(plan).values())
    assert isinstance(plan.steps[-1], ir.MatmulRegion)


def test_batch_is_broadcast_without_a_copy() -> None:
    step = product_of(lambda a, b: torch.relu(a @ b), (2, 3, 4, 5), (3, 5, 6))
    assert step.layouts is not None
    assert step.layouts[1].order[0] is None


def test_rows_that_lie_apart_are_a_batch() -> None:
    step = product_of(lambda a, b: a.permute(1, 0, 2) @ b, (4, 5, 8), (8, 6))
    assert step.layouts is not None
    assert [size.literal for size in step.layouts[0].shape] == [4, 5, 8]


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (0.5, 1), (1, 2), (0.5, 0)])
@pytest.mark.parametrize("added", [(3, 4, 6), (1, 6), (6,)])
def test_added_product_takes_its_factors_into_the_epilogue(alpha: float, beta: float, added: tuple[int, ...]) -> None:
    def forward(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(c, a, b, alpha=alpha, beta=beta)

    product_of(forward, added, (3, 4, 5), (3, 5, 6))


def test_addend_that_is_no_bias_is_added_in_the_epilogue() -> None:
    step = product_of(lambda c, a, b: torch.addmm(c, a, b, alpha=3), (4, 6), (4, 5), (5, 6))
    assert step.epilogue is not None
    assert product_of(lambda c, a, b: torch.addmm(c, a, b), (6,), (4, 5), (5, 6)).bias is not None


VECTORS: dict[str, tuple[Function, tuple[tuple[int, ...], ...]]] = {
    "matrix and vector": (lambda a, b: a @ b, ((4, 5), (5,))),
    "vector and matrix": (lambda a, b: a @ b, ((5,), (5, 3))),
    "vectors": (lambda a, b: a @ b, ((5,), (5,))),
    "one column": (lambda a, b: torch.mm(a, b), ((4, 5), (5, 1))),
}


@pytest.mark.parametrize("name", VECTORS)
def test_product_with_a_vector_is_a_row_program(name: str) -> None:
    function, shapes = VECTORS[name]
    inputs = [torch.randn(shape) for shape in shapes]
    plan = planned(lambda m, a, b: torch.relu(function(a, b)), *inputs, abilities=TRITON)
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]


def test_layer_with_one_output_is_a_row_program() -> None:
    plan = planned(lambda m, x: m[0](x).sigmoid(), torch.randn(4, 8), parts=(nn.Linear(8, 1),), abilities=TRITON)
    assert [type(step) for step in plan.steps] == [ir.KernelRegion]


# triangles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diagonal", [0, -1, 2])
@pytest.mark.parametrize(("cut", "kept"), [(torch.tril, "lower"), (torch.triu, "upper")], ids=["tril", "triu"])
def test_triangle_of_a_product_belongs_to_it(cut: Function, kept: str, diagonal: int) -> None:
    step = product_of(lambda a, b: torch.relu(cut(a @ b, diagonal) + 1), (4, 5), (5, 6))
    assert (step.triangle, step.diagonal) == (kept, diagonal)
    assert step.epilogue is not None


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: torch.tril(y := a @ b) + y,
        lambda a, b: torch.tril((a @ b).T),
        lambda a, b: torch.tril(torch.relu(a @ b)),
        lambda a, b: torch.tril(a) @ b,
    ],
    ids=["read whole, too", "of a transposed product", "of an activation", "of an operand"],
)
def test_other_triangles_are_left_to_pytorch(function: Function) -> None:
    plan = planned(lambda m, a, b: function(a, b), torch.randn(5, 5), torch.randn(5, 5), abilities=TRITON)
    assert "aten.tril.default" in left(plan)


# gates -----------------------------------------------------------------------------------------------------


GATES: dict[str, Function] = {
    "swiglu": lambda m, x: torch.nn.functional.silu(m[0](x)) * m[1](x),
    "gate last": lambda m, x: m[0](x) * torch.sigmoid(m[1](x)),
    "several tokens": lambda m, x: m[0](y := x.reshape(2, 2, 8)) * torch.sigmoid(m[1](y)),
}


@pytest.mark.parametrize("name", GATES)
def test_gate_and_what_it_lets_through_are_one_kernel(name: str) -> None:
    parts, x = (nn.Linear(8, 6), nn.Linear(8, 6, bias=False)), torch.randn(4, 8)
    plan = with_gates(planned(GATES[name], x, parts=parts, abilities=TRITON))
    step = plan.steps[-1]
    assert isinstance(step, ir.MatmulRegion)
    assert step.twin is not None
    model = interpreter.Reference(GATES[name], *parts)
    (result,) = interpreter.run_plan(plan, model, (x,))
    torch.testing.assert_close(result, model.double()(x.double()), rtol=1e-9, atol=1e-9)


NO_GATES: dict[str, Function] = {
    "gate read again": lambda m, x: (torch.relu(y := m[0](x)) * m[1](x), y),
    "of different inputs": lambda m, x: m[0](x) * m[1](x + 1),
    "one behind the other": lambda m, x: m[2](m[0](x)) + 1,
    "with a row tail": lambda m, x: torch.softmax(m[0](x) * m[1](x), 1),
    "of different widths": lambda m, x: m[0](x)[:, :1] * m[3](x),
}


@pytest.mark.parametrize("name", NO_GATES)
def test_other_pairs_of_products_stay_two(name: str) -> None:
    parts = (nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(8, 4))
    plan = with_gates(planned(NO_GATES[name], torch.randn(4, 8), parts=parts, abilities=TRITON))
    assert [step.twin for step in plan.steps if isinstance(step, ir.MatmulRegion)] == [None, None]


def test_twin_accumulators_are_no_wider_than_registers() -> None:
    graph = graph_of(CASES["gate-persistent-bf16"])
    space = triton_space(with_gates(plan_graph(graph, TRITON)), "bf16", DeviceKind.CUDA)
    assert space["product_1_tile_n"] == (128,)


# other shapes, and products nobody thought of ---------------------------------------------------------------


def test_strided_product_serves_other_shapes() -> None:
    def forward(m: nn.ModuleList, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bqhd,bkhd->bhqk", a, b)

    plan = plan_graph(traced(forward, torch.randn(2, 3, 4, 5), torch.randn(2, 6, 4, 5)), TRITON)
    other = traced(forward, torch.randn(3, 7, 2, 9), torch.randn(3, 8, 2, 9))
    assert mismatch(plan, other) is None


def test_triangle_does_not_serve_another() -> None:
    inputs = torch.randn(4, 5), torch.randn(5, 6)
    plan = plan_graph(traced(lambda m, a, b: torch.tril(a @ b), *inputs), TRITON)
    assert mismatch(plan, traced(lambda m, a, b: torch.tril(a @ b, 1), *inputs)) is not None


@settings(max_examples=60, deadline=None)
@given(st.permutations("bhqd"), st.permutations("bhkd"), st.permutations("bhqk"), st.sampled_from([BASIC, TRITON]))
def test_any_order_of_dimensions_plans_to_the_same_values(
    first: list[str], second: list[str], result: list[str], abilities: Abilities
) -> None:
    sizes = {"b": 2, "h": 3, "q": 4, "k": 5, "d": 6}
    inputs = [torch.randn([sizes[letter] for letter in letters]) for letters in (first, second)]
    equation = f"{''.join(first)},{''.join(second)}->{''.join(result)}"
    plan = planned(lambda m, a, b: torch.einsum(equation, a, b), *inputs, abilities=abilities)
    assert any(isinstance(step, ir.MatmulRegion) for step in plan.steps)


# kernels ---------------------------------------------------------------------------------------------------


def graph_of(case: Any) -> TaskGraph:
    graph = trace_task(case.model(), case.inputs(), "default", ())
    assert isinstance(graph, TaskGraph)
    return graph


def emitted(case: Any) -> str:
    graph = graph_of(case)
    return emit_triton(with_gates(plan_graph(graph, TRITON)), graph, case.parameters, DeviceKind.CUDA)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("triton")
    folder = tmp_path_factory.mktemp("products")
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
def test_values_agree_with_float64(interpreted: dict[str, Any], name: str) -> None:
    assert max(interpreted[name]["errors"]) <= CASES[name].tolerance


@pytest.mark.parametrize("name", [name for name in CASES if "vendor" not in name])
def test_kernels_compile_for_sm_90_and_do_not_spill(compiled: dict[str, Any], name: str) -> None:
    assert compiled[name]["fault"] is None
    assert compiled[name]["not_checked"] is None
    assert [kernel["name"] for kernel in compiled[name]["kernels"] if kernel["stack_bytes"]] == []


@pytest.mark.parametrize("name", [name for name in CASES if "persistent" in name])
def test_transposed_operands_and_triangles_use_the_copy_engine(compiled: dict[str, Any], name: str) -> None:
    assert any({"wgmma", "tma"} <= set(kernel["features"]) for kernel in compiled[name]["kernels"])


@pytest.mark.parametrize("name", CASES)
def test_static_rules_let_the_candidate_through(sources: Path, name: str) -> None:
    assert judge_source((sources / f"{name}.py").read_text()) is None


def test_triangle_is_the_generators_first_guess() -> None:
    plan = plan_graph(graph_of(CASES["upper-triangle"]), TRITON)
    space = triton_space(plan, "bf16", DeviceKind.CUDA)
    assert next(values[0] for name, values in space.items() if name.endswith("_kernel")) == "persistent"
