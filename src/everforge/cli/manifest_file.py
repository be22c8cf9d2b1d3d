"""Reads a KernelOptimization manifest from a file, with messages that name file, line, field and remedy.

The model of the cluster validates it, as strictly as the API server does: names in camelCase only, no text
where a number belongs. `everforge run` calls `read_manifest`.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from everforge.cli.yaml_document import Location, YamlDocument, read_documents
from everforge.errors import ManifestError
from everforge.model.manifest import API_VERSION, KIND, KernelOptimization
from everforge.model.scalars import MEANINGS


@dataclass(frozen=True)
class ManifestFile:
    """A valid manifest, and the documents it came with."""

    path: Path
    manifest: KernelOptimization
    document: YamlDocument
    config_maps: tuple[YamlDocument, ...]

    def error(self, location: Location, message: str) -> ManifestError:
        """An error about one field of the manifest."""
        return ManifestError(_located(self.document, location, message))


def read_manifest(path: Path) -> ManifestFile:
    """The one KernelOptimization of a YAML file, with the ConfigMaps beside it.

    Raises ManifestError for a file that cannot be read, is not YAML, or does not validate.
    """
    documents = read_documents(path)
    for document in documents:
        if not isinstance(document.value, dict):
            raise ManifestError(_located(document, (), "must be a mapping that starts with apiVersion:"))
    found = [document for document in documents if _is_manifest(document)]
    if len(found) != 1:
        raise ManifestError(_wrong_count(path, found, documents))
    config_maps = tuple(document for document in documents if document.value.get("kind") == "ConfigMap")
    return ManifestFile(path, _validated(found[0]), found[0], config_maps)


def _is_manifest(document: YamlDocument) -> bool:
    return bool(document.value.get("kind") == KIND)


def _wrong_count(path: Path, found: Sequence[YamlDocument], documents: Sequence[YamlDocument]) -> str:
    if found:
        lines = ", ".join(str(document.line_of(())) for document in found)
        return f"{path}: holds {len(found)} {KIND} objects (lines {lines}); give each a file of its own"
    kinds = [str(document.value.get("kind")) for document in documents]
    if not kinds:
        return f"{path}: is empty; a manifest starts with apiVersion: {API_VERSION} and kind: {KIND}"
    near = difflib.get_close_matches(KIND, kinds, n=1)
    line = documents[kinds.index(near[0])].line_of(("kind",)) if near else documents[0].line_of(("kind",))
    return f"{path}:{line}: kind: must be {KIND}, got {', '.join(kinds)}"


def _validated(document: YamlDocument) -> KernelOptimization:
    # Through JSON, because that is what the API server sees: strict, and an enum is its text.
    try:
        text = json.dumps(document.value, default=str)
    except (ValueError, RecursionError):
        raise ManifestError(_located(document, (), "an anchor holds itself; write it out")) from None
    try:
        return KernelOptimization.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ManifestError("\n".join(_messages(document, error.errors()))) from None


def _messages(document: YamlDocument, errors: Iterable[ErrorDetails]) -> list[str]:
    """One line for each field that is wrong, in the order of the file."""
    first_of: dict[str, tuple[int, str]] = {}
    for error in errors:
        location = _field(document, error)
        message = _located(document, location, _explained(document, location, error))
        first_of.setdefault(_dotted(location), (document.line_of(location), message))
    return [message for _line, message in sorted(first_of.values())]


def _field(document: YamlDocument, error: ErrorDetails) -> tuple[str | int, ...]:
    """The error's location, without the parts that name a member of a union instead of a field."""
    location = error["loc"]
    kept = len(location)
    while kept and not document.holds(location[:kept]):
        kept -= 1
    return location[: kept + 1] if error["type"] == "missing" else location[:kept]


def _explained(document: YamlDocument, location: Location, error: ErrorDetails) -> str:
    kind, value = error["type"], document.value_at(location)
    if kind == "extra_forbidden":
        return _unknown_field(location)
    if kind == "missing":
        return "this field is required"
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if kind == "string_type" and isinstance(value, int | float):
        return f'must be text: write it in quotes, "{value}"'
    if kind == "string_pattern_mismatch":
        pattern = str(error["ctx"]["pattern"])
        return f"must be {MEANINGS.get(pattern, pattern)}, got {value!r}"
    if kind in ("literal_error", "enum"):
        return _not_among(str(error["ctx"]["expected"]), value)
    wanted = error["msg"].replace("Input should be", "must be").replace("should have", "must have")
    return f"{wanted}, got {_shown(value)}"


def _unknown_field(location: Location) -> str:
    known = _known_fields(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    question = f"; did you mean {near[0]}?" if near else ""
    return f"unknown field{question} (known here: {', '.join(known)})"


def _not_among(expected: str, value: Any) -> str:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    near = difflib.get_close_matches(str(value), choices, n=1)
    question = f"; did you mean {near[0]}?" if near else ""
    return f"must be {' or '.join(choices)}, got {_shown(value)}{question}"


def _known_fields(location: Location) -> list[str]:
    """The fields of the model at `location`, as a manifest writes them."""
    model: Any = KernelOptimization
    for part in location:
        if isinstance(part, str) and issubclass(model, BaseModel):
            by_alias = {field.alias or name: field for name, field in model.model_fields.items()}
            model = _model_in(by_alias[part].annotation)
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> Any:
    """The model class that an annotation such as `list[Model]` or `Model | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(found for part in get_args(annotation) if (found := _model_in(part)) is not None)


def _located(document: YamlDocument, location: Location, message: str) -> str:
    field = f" {_dotted(location)}:" if location else ""
    return f"{document.path}:{document.line_of(location)}:{field} {message}"


def _dotted(location: Location) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
