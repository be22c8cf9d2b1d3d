"""YAML documents that remember where everything stood, so that a message can name the line.

`manifest_file.py` reads manifests through it. Stricter than YAML on two points where a slip would pass
silently: a key given twice, and a key that is no text (`on:` is read as a boolean).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from everforge.cli.text_file import read_text
from everforge.errors import ManifestError

Location = Sequence[str | int]


@dataclass(frozen=True)
class YamlDocument:
    """One document of a file: its value and its nodes."""

    path: Path
    root: yaml.Node
    value: Any

    def line_of(self, location: Location) -> int:
        """Line, from 1, of the key at `location`, or of the nearest thing around it that is there."""
        node, line = self.root, self.root.start_mark.line
        for part in location:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        return line + 1

    def value_at(self, location: Location) -> Any:
        """The value at `location`, None where there is none."""
        value = self.value
        try:
            for part in location:
                value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
        return value

    def holds(self, location: Location) -> bool:
        """Whether there is anything, even a null, at `location`."""
        node = self.root
        for part in location:
            found = _child(node, part)
            if found is None:
                return False
            node = found[1]
        return True


def read_documents(path: Path) -> tuple[YamlDocument, ...]:
    """Every document of a YAML file that is not empty. Raises ManifestError naming file, line and remedy."""
    text = read_text(path, "manifest", ManifestError)
    try:
        return tuple(_documents(yaml.SafeLoader(text), path))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ManifestError(f"{path}{line}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ManifestError(f"{path}: not YAML that can be read: {error}") from None


def _documents(loader: yaml.SafeLoader, path: Path) -> Iterator[YamlDocument]:
    while loader.check_node():
        node = loader.get_node()
        if node is None:
            continue
        _check_keys(node, path, set())
        value = loader.construct_document(node)
        if value is not None:
            yield YamlDocument(path, node, value)


def _check_keys(node: yaml.Node, path: Path, seen: set[int]) -> None:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        _check_mapping(node, path)
    for child in _children(node):
        _check_keys(child, path, seen)


def _check_mapping(node: yaml.MappingNode, path: Path) -> None:
    lines: dict[str, int] = {}
    for key, _value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag.rpartition(":")[2] not in ("str", "merge"):
            shown = key.value if isinstance(key, yaml.ScalarNode) else "this"
            raise ManifestError(f"{path}:{line}: key {shown} is not read as text by YAML; write it in quotes")
        if key.value in lines:
            raise ManifestError(
                f"{path}:{line}: key {key.value} is given twice, first on line {lines[key.value]}; keep one"
            )
        lines[key.value] = line


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        yield from (value for _key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    """Line (from 0) and node of a mapping's key or a sequence's entry."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        entry = node.value[part]
        return entry.start_mark.line, entry
    return None
