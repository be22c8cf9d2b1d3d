"""A task file is loaded under a variant's constants, and a wrong one is refused by name and line."""

import contextlib
import time
from typing import Any

import pytest

from everforge.errors import TaskError
from everforge.runners.truth.taskfile import call_user, load_task_file

TASK = """\
import torch
batch_size = 4
width: int = batch_size * 2
class Model(torch.nn.Module):
    def forward(self, x):
        return x * width
def get_inputs():
    return [torch.rand(batch_size, width)]
def get_init_inputs():
    return []
"""


def test_constants_are_overridden_before_others_are_computed_from_them() -> None:
    (x,) = load_task_file("task.py", TASK, {"batch_size": 3}).get_inputs()
    assert x.shape == (3, 6)


def test_annotated_constant_is_overridden() -> None:
    (x,) = load_task_file("task.py", TASK, {"width": 5}).get_inputs()
    assert x.shape == (4, 5)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("def f(:\n", r"task.py, line 1: not Python", id="syntax"),
        pytest.param("import torch\nimport nowhere\n", r"task.py, line 2: ModuleNotFoundError", id="import"),
        pytest.param("class Model: pass\n", r"missing: get_inputs, get_init_inputs", id="functions"),
        pytest.param("x = 1\0\n", r"task.py: not Python", id="null byte"),
    ],
)
def test_wrong_task_file_is_refused(source: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_task_file("task.py", source, {})


def test_unknown_constant_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(TaskError, match="no module-level constant 'batchsize' to override; did you mean batch_size"):
        load_task_file("task.py", TASK, {"batchsize": 1})


def test_task_file_that_exits_is_refused_like_one_that_raises() -> None:
    with pytest.raises(TaskError, match=r"task.py, line 2: SystemExit: 3"):
        load_task_file("task.py", "import sys\nsys.exit(3)\n", {})


ENDLESS = """\
def get_inputs():
    while True:
        pass
"""


def test_reference_that_never_returns_is_told_with_its_line() -> None:
    names: dict[str, Any] = {}
    exec(compile(ENDLESS, "endless.py", "exec"), names)
    with pytest.raises(TaskError, match=r"endless\.py, line [23]: get_inputs\(\) failed: OutOfTime: .* after 0\.1 s"):
        call_user("endless.py", "get_inputs()", names["get_inputs"], limit_s=0.1)


def test_call_that_returned_in_time_is_not_interrupted_later() -> None:
    for _ in range(50):
        with contextlib.suppress(TaskError):  # ends about when its time does
            call_user("task.py", "forward()", lambda: time.sleep(0.001), limit_s=0.001)
        assert sum(range(2000)) == 1999000
