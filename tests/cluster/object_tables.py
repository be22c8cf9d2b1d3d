"""The tables of `objects/`, and the smallest valid object of each kind that their rows change.

`test_objects.py` puts the rows to an API server and to the model.
"""

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from everforge.cli.manifest_file import read_manifest
from everforge.errors import ManifestError
from everforge.model.custom_resource import KINDS, Kind
from everforge.model.manifest import API_VERSION, KIND
from everforge.model.scalars import MEANINGS

TABLES = Path(__file__).parent / "objects"
KIND_BY_NAME: Mapping[str, Kind] = {kind.record.__name__: kind for kind in KINDS}
TOO_LONG = "A_TEXT_OF_65537_BYTES"
SMALLEST: Mapping[str, Mapping[str, Any]] = {
    "KernelOptimization": {
        "metadata": {"name": "softmax"},
        "spec": {"task": {"inline": "class Model: ..."}, "targets": [{"devicePool": "cpu"}]},
    },
    "DevicePool": {
        "metadata": {"name": "cpu"},
        "spec": {"vendor": "CPU", "architecture": "x86_64", "runner": {"image": "everforge/runner-cpu:1"}},
    },
    "RunnerClaim": {
        "metadata": {"name": "softmax-cpu"},
        "spec": {
            "pool": "cpu",
            "owner": {"name": "softmax", "uid": "0a1b"},
            "credentialDigest": "sha256:" + "0" * 64,
        },
    },
}


@dataclass(frozen=True)
class Row:
    """One row of a table: how its object comes about, and what is said of it."""

    case: str
    kind: str
    set: Mapping[str, Any] = field(default_factory=dict)
    patches: tuple[Mapping[str, Any], ...] = ()
    server: tuple[str, ...] = ()
    model: tuple[str, ...] = ()

    def object(self) -> dict[str, Any]:
        """The smallest object with the row's fields set; null removes one."""
        made = smallest(self.kind)
        for path, value in self.set.items():
            _put(made, path.split("."), "x" * 65537 if value == TOO_LONG else copy.deepcopy(value))
        return made


def table(name: str) -> list[Row]:
    """The rows of one table."""
    listed = yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))
    texts = ("server", "model")
    return [Row(**{key: _texts(value) if key in texts else value for key, value in row.items()}) for row in listed]


def smallest(kind: str) -> dict[str, Any]:
    """A new copy of the smallest valid object of a kind."""
    return {"apiVersion": API_VERSION, "kind": kind, **copy.deepcopy(dict(SMALLEST[kind]))}


def said_by_model(manifest: Mapping[str, Any]) -> list[str]:
    """What the user is told of an object without a cluster, one text for each mistake: `field: message`."""
    if manifest.get("kind") == KIND:
        return _said_by_command_line(manifest)
    try:
        KIND_BY_NAME[manifest["kind"]].record.read(manifest)
    except ValidationError as error:
        return [f"{_dotted(each['loc'])}: {_in_words(each)}" for each in error.errors()]
    return []


def _said_by_command_line(manifest: Mapping[str, Any]) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "kernel.yaml"
        path.write_text(yaml.safe_dump(dict(manifest)), encoding="utf-8")
        try:
            read_manifest(path)
        except ManifestError as error:
            return [line.partition(": ")[2] for line in str(error).splitlines()]
    return []


def _in_words(error: ErrorDetails) -> str:
    if error["type"] == "string_pattern_mismatch":
        return f"must be {MEANINGS[error['ctx']['pattern']]}"
    return error["msg"].removeprefix("Value error, ")


def _dotted(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _put(target: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        target = target.setdefault(name, {})
    if value is None and path[-1] in target:
        del target[path[-1]]
    else:
        target[path[-1]] = value


def _texts(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
