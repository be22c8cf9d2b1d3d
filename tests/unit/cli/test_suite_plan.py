"""Which files of a directory a suite runs, in which order, under which names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from everforge.cli.suite_plan import PlannedTask, planned_tasks
from everforge.errors import UsageError
from everforge.model.manifest import DnsLabel
from everforge.testing import samples


@pytest.fixture
def tasks_dir(tmp_path: Path) -> Path:
    for name in ("level1/2_Matmul.py", "level1/10_Gelu.py", "level2/1_Conv_Relu.py", "softmax.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(samples.TASK_SOURCE)
    return tmp_path


def keys(directory: Path, *only: str) -> list[str]:
    return [task.key for task in planned_tasks(directory, only)]


def test_tasks_come_by_level_and_number(tasks_dir: Path) -> None:
    assert keys(tasks_dir) == ["level1/2_Matmul", "level1/10_Gelu", "level2/1_Conv_Relu", "softmax"]


def test_files_that_are_no_tasks_are_passed_over(tasks_dir: Path) -> None:
    (tasks_dir / "__init__.py").write_text("")
    (tasks_dir / "shared.py").write_text("class Model: ...\n")
    (tasks_dir / ".venv").mkdir()
    (tasks_dir / ".venv" / "1_Hidden.py").write_text(samples.TASK_SOURCE)
    assert len(keys(tasks_dir)) == 4


def test_a_published_name_is_a_task_whatever_is_in_it(tasks_dir: Path) -> None:
    (tasks_dir / "3_Broken.py").write_text("def f(:\n")
    assert "3_Broken" in keys(tasks_dir)


@pytest.mark.parametrize(
    ("globs", "chosen"),
    [
        pytest.param(("level2/*",), ["level2/1_Conv_Relu"], id="folder"),
        pytest.param(("10_*",), ["level1/10_Gelu"], id="file-name"),
        pytest.param(("2_Matmul.py", "softmax"), ["level1/2_Matmul", "softmax"], id="two-names"),
    ],
)
def test_globs_choose_by_key_or_file_name(tasks_dir: Path, globs: tuple[str, ...], chosen: list[str]) -> None:
    assert keys(tasks_dir, *globs) == chosen


def test_a_glob_that_matches_nothing_is_refused_with_examples(tasks_dir: Path) -> None:
    with pytest.raises(UsageError, match=r"--only level3/\*: .*level1/2_Matmul"):
        planned_tasks(tasks_dir, ["10_*", "level3/*"])


def test_a_directory_without_tasks_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task files"):
        planned_tasks(tmp_path)
    (tmp_path / "a.py").write_text("")
    with pytest.raises(UsageError, match="not a directory"):
        planned_tasks(tmp_path / "a.py")


@given(st.text(min_size=1))
def test_every_name_is_a_dns_label_a_manifest_accepts(key: str) -> None:
    name = PlannedTask(key=key, path=Path("x.py")).name
    assert TypeAdapter(DnsLabel).validate_python(name) == name
    assert len(name) <= 40


def test_two_long_names_with_one_beginning_stay_two() -> None:
    first, second = (PlannedTask(key=f"level2/{'Conv2d_' * 8}{end}", path=Path("x.py")).name for end in ("Add", "Mul"))
    assert first != second
