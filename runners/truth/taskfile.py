"""Loading a task file under one variant: constants replaced, Model and its inputs found.

The file is the user's own and is trusted; candidates never see it. Used by sessions and baseline workers.
"""

import ast
import difflib
import linecache
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from everforge.errors import TaskError
from everforge.model.base import digest_of
from everforge.model.task import ConstantValue
from everforge.runners.truth.patience import USER_CALL_S, at_most

_NEEDED = ("Model", "get_inputs", "get_init_inputs")


@dataclass(frozen=True)
class TaskFile:
    """A task file that was executed: KernelBench's three names."""

    model_class: Callable[..., Any]
    get_inputs: Callable[[], Any]
    get_init_inputs: Callable[[], Any]


def load_task_file(name: str, source: str, constants: Mapping[str, ConstantValue]) -> TaskFile:
    """Execute a task file with its module-level constants overridden.

    Raises TaskError naming the line for a syntax error, an import that fails, a missing class or function,
    or a constant the file does not define.
    """
    try:
        tree = ast.parse(source, filename=name)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise TaskError(f"{name}{f', line {line}' if line else ''}: not Python: {error}") from error
    _override(tree, name, constants)
    # torch.compile imports the modules it inlines by name, so each variant's module is a module of its own.
    module = types.ModuleType("everforge_task_" + digest_of([source, dict(constants)])[-12:])
    sys.modules[module.__name__] = module
    # Inductor and inspect read sources through linecache; a task has no file of its own in the runner.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        with at_most(USER_CALL_S):
            exec(compile(tree, name, "exec"), module.__dict__)  # noqa: S102 - the user's own reference
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise TaskError(f"{name}{_line_of(error, name)}: {type(error).__name__}: {error}") from error
    missing = [needed for needed in _NEEDED if not callable(getattr(module, needed, None))]
    if missing:
        raise TaskError(
            f"{name}: a task file defines class Model, get_inputs() and get_init_inputs(); "
            f"missing: {', '.join(missing)}"
        )
    return TaskFile(module.Model, module.get_inputs, module.get_init_inputs)


def _override(tree: ast.Module, name: str, constants: Mapping[str, ConstantValue]) -> None:
    places = dict(assignments(tree))
    for constant, value in constants.items():
        if constant not in places:
            near = difflib.get_close_matches(constant, places, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it defines {', '.join(places) or 'none'}"
            raise TaskError(f"{name}: no module-level constant {constant!r} to override{hint}")
        replaced = places[constant]
        replaced.value = ast.copy_location(ast.Constant(value), replaced)


def assignments(tree: ast.Module) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign]]:
    """Module-level `name = value` and `name: type = value`."""
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        if len(targets) == 1 and isinstance(targets[0], ast.Name):
            yield targets[0].id, statement  # type: ignore[misc]


def _line_of(error: BaseException, name: str) -> str:
    """`, line N` of the deepest frame inside the task file."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f", line {line}"


def call_user(name: str, what: str, call: Callable[[], Any], limit_s: float = USER_CALL_S) -> Any:
    """Call into the user's task file; whatever it raises becomes a TaskError that names the line.

    So does a loop that has not ended after `limit_s`.
    """
    try:
        with at_most(limit_s):
            return call()
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        text = str(error).strip().splitlines()
        raise TaskError(
            f"{name}{_line_of(error, name)}: {what} failed: {type(error).__name__}: {text[0] if text else ''}"
        ) from error
