"""What users are shown first must be accepted: every example is a task that tells kernels apart."""

from pathlib import Path

import pytest

from everforge.cli.manifest_file import read_manifest
from everforge.cli.suite_plan import planned_tasks
from everforge.cli.task_file import task_of_file
from everforge.model.device import DeviceKind
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings
from everforge.model.task import Mode, TaskSpec
from everforge.runners.devices import device_of
from everforge.runners.facts.degenerate import refuse_degenerate
from everforge.runners.truth.cases import build_reference
from everforge.runners.truth.reference import ReferenceBuilder

EXAMPLES = Path(__file__).parents[3] / "examples"


def examples() -> list[TaskSpec]:
    return [
        *(task_of_manifest(path) for path in sorted(EXAMPLES.glob("*.yaml"))),
        *(task_of_file(path, path.stem) for path in sorted((EXAMPLES / "tasks").glob("*.py"))),
        *(planned.spec(Precision.FP32, Mode.EVAL) for planned in planned_tasks(EXAMPLES / "kernelbench")),
    ]


def task_of_manifest(path: Path) -> TaskSpec:
    spec = read_manifest(path).manifest.spec
    variants = tuple(variant.resolved() for variant in spec.variants)
    return TaskSpec(name=path.stem, source=str(spec.task.inline), variants=variants, precision=spec.precision)


@pytest.mark.parametrize("task", [pytest.param(task, id=task.name) for task in examples()])
def test_no_wrong_kernel_passes_for_an_example(task: TaskSpec) -> None:
    for variant in task.variants:
        builder = ReferenceBuilder(task, variant, device_of(DeviceKind.CPU))
        reference = build_reference(builder, EvaluationSettings(seeds=2))
        refuse_degenerate(builder, reference.cases)
