"""Which task files of a directory a suite runs, in which order and under which names; `everforge suite` asks.

A task file carries KernelBench's published name, `<id>_<Name>.py`, or at least defines its `class Model` and
`get_inputs()`; other Python files (an `__init__.py`, shared code) are passed over.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from everforge.cli.task_file import task_of_file
from everforge.errors import UsageError
from everforge.model.base import Record, digest_of
from everforge.model.precision import Precision
from everforge.model.task import Mode, TaskSpec

_PUBLISHED_NAME = re.compile(r"^\d+_.+\.py$")
_TASK_MARKS = (re.compile(r"^class Model\b", re.MULTILINE), re.compile(r"^def get_inputs\b", re.MULTILINE))
# Longest name a KernelOptimization may have: a task of a suite may get a manifest of its own later.
_NAME_CHARACTERS = 40


class PlannedTask(Record):
    """One task file of a suite. `key` is its path below the suite's directory, without `.py`."""

    key: str
    path: Path

    @property
    def name(self) -> str:
        """The key as a lower-case DNS label: the MLflow experiment and the campaign carry it."""
        label = re.sub(r"[^a-z0-9]+", "-", self.key.lower()).strip("-") or "task"
        if len(label) <= _NAME_CHARACTERS:
            return label
        # A cut name ends in eight digits of its key's digest: two long names with one beginning stay two.
        suffix = digest_of(self.key).removeprefix("sha256:")[:8]
        return f"{label[: _NAME_CHARACTERS - 9].rstrip('-')}-{suffix}"

    def spec(self, precision: Precision, mode: Mode) -> TaskSpec:
        """The task as published: one variant, no constant overridden.

        Raises TaskError for a file that cannot be a task.
        """
        return task_of_file(self.path, self.name, precision=precision, mode=mode)


def planned_tasks(directory: Path, only: Sequence[str] = ()) -> tuple[PlannedTask, ...]:
    """Every task file below `directory`, by level and id; with `only`, those one of its globs matches.

    A glob is held against the key (`level1/19_*`) and against the file's name (`19_*`).
    Raises UsageError for a directory without tasks and for a glob that matches none of them.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: not a directory; name the folder that holds the task files")
    tasks = [_planned(path, directory) for path in directory.rglob("*.py") if _is_task(path, directory)]
    if not tasks:
        raise UsageError(f"{directory}: no task files below it; they are named <id>_<Name>.py, such as 19_ReLU.py")
    for glob in only:
        if not any(_matches(task, glob) for task in tasks):
            known = ", ".join(task.key for task in sorted(tasks, key=_order)[:5])
            raise UsageError(f"--only {glob}: matches no task of {directory}; the first are: {known}")
    chosen = [task for task in tasks if not only or any(_matches(task, glob) for glob in only)]
    return tuple(sorted(chosen, key=_order))


def _planned(path: Path, directory: Path) -> PlannedTask:
    return PlannedTask(key=path.relative_to(directory).with_suffix("").as_posix(), path=path)


def _is_task(path: Path, directory: Path) -> bool:
    if any(part.startswith((".", "__pycache__")) for part in path.relative_to(directory).parts):
        return False
    if _PUBLISHED_NAME.match(path.name):
        return True
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return all(mark.search(source) for mark in _TASK_MARKS)


def _matches(task: PlannedTask, glob: str) -> bool:
    pattern = glob.removesuffix(".py")
    return fnmatchcase(task.key, pattern) or fnmatchcase(task.path.stem, pattern)


def _order(task: PlannedTask) -> list[tuple[int, str]]:
    """Sort key that puts 2_x before 10_x: numbers by value, text by text."""
    pieces = re.findall(r"\d+|\D+", task.key)
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]
