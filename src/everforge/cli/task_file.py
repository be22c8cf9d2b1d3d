"""Task files on disk, read without running them: `evaluate` and `suite` turn a path into a TaskSpec here.

What can be said from the text alone (no such file, a syntax error, no `class Model`, a constant that is not
there) is said here, with file and line; what needs PyTorch (a reference that raises, or whose output is
constant) is said by the runner when it opens the session.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from everforge.cli.text_file import read_text
from everforge.errors import TaskError, UsageError
from everforge.model.precision import Precision
from everforge.model.task import ConstantValue, Mode, TaskSpec, Variant, constant_from_text

# What KernelBench's published layout gives every task file.
NEEDED = {
    "Model": "class Model(nn.Module)",
    "get_inputs": "def get_inputs()",
    "get_init_inputs": "def get_init_inputs()",
}
DEFAULT_VARIANT = Variant(name="default")


def task_of_file(
    path: Path,
    name: str,
    variants: Sequence[Variant] = (DEFAULT_VARIANT,),
    precision: Precision = Precision.FP32,
    mode: Mode = Mode.EVAL,
) -> TaskSpec:
    """The task in a Python file of KernelBench's form.

    Raises TaskError for a file that cannot be a task, UsageError for variants that do not fit it.
    """
    source = read_text(path, "task")
    constants = constants_of(source, path)
    for variant in variants:
        check_constants(variant, constants, path)
    try:
        return TaskSpec(name=name, source=source, variants=tuple(variants), precision=precision, mode=mode)
    except ValidationError as error:
        raise UsageError(f"{path}: {first_message(error)}") from None


def constants_of(source: str, path: Path) -> dict[str, int]:
    """Module-level constants of a task source, each with the line that sets it.

    Raises TaskError, naming file and line, for a syntax error or a part of the task that is missing.
    """
    module = _parsed(source, path)
    defined = {node.name for node in module.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    defined |= _imported_names(module)
    lines = _assigned_names(module)
    missing = [text for name, text in NEEDED.items() if name not in defined and name not in lines]
    if missing and "*" not in defined:  # a star import may bring anything; the runner will see
        raise TaskError(f"{path}: a task file must define {', '.join(missing)}")
    return lines


def _parsed(source: str, path: Path) -> ast.Module:
    try:
        return ast.parse(source, str(path))
    except SyntaxError as error:
        raise TaskError(f"{path}:{error.lineno}: syntax error: {error.msg}") from None
    except ValueError as error:  # a NUL byte, on the Pythons that say ValueError
        raise TaskError(f"{path}: not Python source: {error}") from None


def _assigned_names(module: ast.Module) -> dict[str, int]:
    """Names set by a plain `name = value`: those a variant can override."""
    return {
        node.targets[0].id: node.lineno
        for node in module.body
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    }


def _imported_names(module: ast.Module) -> set[str]:
    return {
        (alias.asname or alias.name).partition(".")[0]
        for node in module.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def check_constants(variant: Variant, constants: Mapping[str, int], path: Path) -> None:
    """Raises UsageError if a variant overrides a constant the task file does not have."""
    unknown = [name for name in variant.constants if name not in constants]
    if unknown:
        known = ", ".join(sorted(constants)) or "none"
        raise UsageError(
            f"{path}: the task has no module-level constant {', '.join(unknown)} for variant {variant.name} to set; "
            f"it has: {known}"
        )


def constants_from_settings(settings: Sequence[str]) -> dict[str, ConstantValue]:
    """`name=value` texts of `--set` as constants; numbers and booleans as such, all else text."""
    constants: dict[str, ConstantValue] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(f"--set {setting!r}: write name=value, such as --set batch_size=8")
        constants[name.strip()] = constant_from_text(text.strip())
    return constants


def variants_of_file(path: Path) -> tuple[Variant, ...]:
    """The variants listed in a YAML or JSON file: a list of `{name, constants, weight, held_out}`.

    Raises UsageError naming the file, and the line or the entry that is wrong.
    """
    text = read_text(path, "variants")
    try:
        listed = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise UsageError(f"{path}: {_syntax_message(error)}") from None
    try:
        variants = TypeAdapter(tuple[Variant, ...]).validate_python(listed)
    except ValidationError as error:
        right = "[{name: decode, constants: {batch_size: 1}}]"
        raise UsageError(f"{path}: {first_message(error)}; write a list such as {right}") from None
    if not variants:
        raise UsageError(f"{path}: lists no variant; write at least [{{name: default}}]")
    return variants


def _syntax_message(error: yaml.YAMLError | json.JSONDecodeError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}: {error.msg}"
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: {getattr(error, 'problem', error)}" if mark else str(error)


def selected(variants: Sequence[Variant], names: Sequence[str]) -> tuple[Variant, ...]:
    """The variants of these names, in the task's order; all of them when no name is given."""
    known = [variant.name for variant in variants]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"--variants: no variant {', '.join(unknown)}; the task has: {', '.join(known)}")
    return tuple(variant for variant in variants if not names or variant.name in names)


def at_path(message: str, task: TaskSpec, path: Path) -> str:
    """A runner's message on a task, which it knows by name alone, with the path its user knows it by."""
    if message.startswith(task.name):
        return f"{path}{message.removeprefix(task.name)}"
    return f"{path}: {message}"


def first_message(error: ValidationError) -> str:
    """The first complaint of a validation, with the place it is about."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
