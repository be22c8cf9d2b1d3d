"""The table of what the builtin generator plans for the benchmark tasks, and that it has an answer for all of them."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from everforge.cli.suite_plan import PlannedTask, planned_tasks
from everforge.model.device import DeviceKind
from everforge.model.graph import GraphNode, Ref, TaskGraph, TensorMeta
from everforge.model.precision import Precision

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
TASKS = planned_tasks(BENCHMARKS / "tasks")
MATRIX = TensorMeta(shape=(64, 64), strides=(64, 1), dtype="float32")


@pytest.fixture(scope="module")
def builtin_plans() -> ModuleType:
    """The script, which lies outside the package."""
    spec = importlib.util.spec_from_file_location("benchmark_builtin_plans", BENCHMARKS / "builtin_plans.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def chain(*ops: str) -> TaskGraph:
    """Operations of one matrix, one after the other."""
    names = ["x", *(f"step_{index}" for index in range(len(ops)))]
    calls = [
        GraphNode(id=names[index + 1], op=op, args=({"node": names[index], "index": None},), outputs=(MATRIX,))
        for index, op in enumerate(ops)
    ]
    return TaskGraph(
        variant="main",
        nodes=(GraphNode(id="x", op="input", outputs=(MATRIX,)), *calls),
        results=(Ref(node=names[-1]),),
    )


def test_share_left_to_pytorch_counts_operations_by_their_bytes(builtin_plans: ModuleType) -> None:
    graph = chain("aten.exp.default", "aten.max_pool2d.default", "aten.exp.default")
    assert builtin_plans.left_share(graph, set()) == 0
    assert builtin_plans.left_share(graph, {"aten.max_pool2d.default"}) == pytest.approx(1 / 3)
    assert builtin_plans.left_share(graph, {"aten.max_pool2d.default", "aten.exp.default"}) == 1


def test_views_left_to_pytorch_cost_nothing_and_copies_do(builtin_plans: ModuleType) -> None:
    graph = chain("aten.exp.default", "aten.permute.default", "aten.clone.default")
    assert builtin_plans.left_share(graph, {"aten.permute.default"}) == 0
    assert builtin_plans.left_share(graph, {"aten.clone.default"}) == pytest.approx(1 / 2)


def test_table_names_kernels_and_what_is_left(builtin_plans: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    builtin_plans.main(["--only", "level2/1_Linear_gelu,level1/70_Average_pool_2d"])
    pool, linear, total = capsys.readouterr().out.splitlines()[1:]
    assert "70_Average_pool_2d" in pool
    assert "1_Linear_gelu" in linear
    assert "0%" in linear
    assert "gelu" in linear
    assert total.startswith("2 tasks")


def test_tasks_without_a_rest_can_be_hidden(builtin_plans: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    builtin_plans.main(["--only", "level2/1_Linear_gelu", "--left"])
    assert capsys.readouterr().out == "nothing is left to PyTorch\n"


@pytest.mark.parametrize("planned", [pytest.param(task, id=task.key) for task in TASKS])
def test_generator_plans_every_benchmark_task_for_a_gpu(builtin_plans: ModuleType, planned: PlannedTask) -> None:
    found = builtin_plans.first_proposal(planned, DeviceKind.CUDA, Precision.BF16)
    assert 0 <= found.left_share <= 1
    ast.parse(found.source or "")
    assert found.kernels or planned.key.startswith("level1"), "the product and its tail are the generator's"
