"""The tasks of `benchmarks/tasks`: published sizes that fit a device, and nothing a wrong kernel could pass as."""

import ast
import math
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from everforge.cli.suite_plan import PlannedTask, planned_tasks
from everforge.model.device import DeviceKind, Peaks
from everforge.model.graph import TaskGraph
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings
from everforge.model.task import Mode, TaskSpec, Variant
from everforge.runners.devices import device_of
from everforge.runners.facts.degenerate import refuse_degenerate
from everforge.runners.facts.held_out import derived_variants
from everforge.runners.facts.size_constants import integer_constants
from everforge.runners.facts.variant_work import work_of
from everforge.runners.tensors.trees import leaves, size_bytes
from everforge.runners.truth.cases import build_reference
from everforge.runners.truth.reference import Case, ReferenceBuilder
from everforge.runners.truth.taskfile import load_task_file

TASKS = planned_tasks(Path(__file__).parents[3] / "benchmarks" / "tasks")
MOST_BYTES = 8 << 30  # of one task's inputs, parameters and outputs: nine copies of them fit an H200
SMALL_ELEMENTS = 1 << 19  # inputs of a shrunken task; every check of one takes a fifth of a second
each_task = pytest.mark.parametrize("planned", [pytest.param(task, id=task.key) for task in TASKS])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are done sooner than a second thread wakes up, all the more beside other tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def shrunken(size: int) -> int:
    """About the root of a size. What divides another, or is smaller, still is."""
    power = (size & -size).bit_length() - 1
    odd = size >> power
    return (1 << (power + 1) // 2) * (odd if odd < 64 else math.isqrt(odd))


def small(planned: PlannedTask) -> TaskSpec:
    """The task at shrunken sizes, under the lowest precision that the suite is run at."""
    spec = planned.spec(Precision.BF16, Mode.EVAL)
    constants = {name: shrunken(size) for name, size in integer_constants(spec.source, {}).items()}
    return spec.model_copy(update={"variants": (Variant(name="small", constants=constants),)})


def idle_inputs(builder: ReferenceBuilder, cases: tuple[Case, ...]) -> set[str]:
    """Notes on inputs that do not matter. Raises TaskError where a constant or a replayed output would pass.

    Other inputs give a single number the same value now and then (one loss in a hundred): what is said counts if it
    is said three times.
    """
    idle = {note for note in refuse_degenerate(builder, cases) if "input" in note}
    for _ in range(2):
        idle &= set(refuse_degenerate(builder, cases)) if idle else set()
    return idle


def test_enough_products_with_tails_and_single_operators_are_measured() -> None:
    levels = Counter(task.key.split("/")[0] for task in TASKS)
    assert set(levels) == {"level1", "level2"}
    assert levels["level1"] >= 30
    assert levels["level2"] >= 40


@pytest.mark.parametrize("level", ["level1", "level2"])
def test_tasks_are_numbered_without_gaps_and_named_once(level: str) -> None:
    names = [task.path.stem.split("_", 1) for task in TASKS if task.key.startswith(level)]
    assert [int(number) for number, _ in names] == list(range(1, len(names) + 1))
    assert len({name for _, name in names}) == len(names)
    assert all(re.fullmatch(r"[A-Z][a-z0-9]*(_[a-z0-9]+)+|[A-Z][a-z0-9]+", name) for _, name in names), names


def test_each_task_says_in_one_line_what_it_is() -> None:
    lines = [ast.get_docstring(ast.parse(task.path.read_text(encoding="utf-8"))) or "" for task in TASKS]
    assert all(line.endswith(".") and "\n" not in line for line in lines)
    assert all(re.search(r"\d", line) for line in lines), "with the size"
    assert len(set(lines)) == len(lines)


@each_task
def test_task_shrinks_with_its_constants_and_no_wrong_kernel_passes(planned: PlannedTask, peaks: Peaks) -> None:
    task = small(planned)
    builder = ReferenceBuilder(task, task.variants[0], device_of(DeviceKind.CPU))
    reference = build_reference(builder, EvaluationSettings())
    elements = sum(tensor.numel() for tensor in leaves(builder.inputs()))
    assert elements < SMALL_ELEMENTS
    assert not idle_inputs(builder, reference.cases)
    work = work_of(builder, peaks, cache_bytes=0)
    assert isinstance(work.graph, TaskGraph), work.graph
    assert work.graph.bytes > 0
    assert work.floor_us is not None
    assert work.suspicion_floor_us is not None
    assert work.graph.flops > 0 or planned.key.startswith("level1"), "every tail follows a product"


@each_task
def test_task_has_shapes_that_nobody_was_shown(planned: PlannedTask) -> None:
    task = small(planned)  # at full size the reference of a derived shape takes gigabytes
    found = derived_variants(task, device_of(DeviceKind.CPU), random.Random(0))
    sizes = [size for size in integer_constants(task.source, {}).values() if size > 1]
    assert len(found.variants) == min(len(sizes), 2), "one for all sizes, one for the batch alone"
    assert found.note is None


@each_task
def test_task_fits_the_memory_of_a_device_at_its_own_size(planned: PlannedTask) -> None:
    task = load_task_file(planned.name, planned.spec(Precision.FP32, Mode.EVAL).source, {})
    with torch.device("meta"), torch.no_grad():
        model = task.model_class(*task.get_init_inputs()).eval()
        inputs = task.get_inputs()
        moved = size_bytes([inputs, dict(model.state_dict()), model(*inputs)])
    assert 1 << 25 <= moved <= MOST_BYTES  # at the least, more than what caches hold for free
