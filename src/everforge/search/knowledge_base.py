"""Reads the entries of `knowledge/`, which the package holds as data; `everforge knowledge` and the llm generator ask.

The rules that span entries, unique ids and no contradictions, are held by a test and not at every start: a file that is
wrong never leaves the repository.
"""

import functools
from importlib import resources
from importlib.resources.abc import Traversable

import yaml
from pydantic import ValidationError

from everforge.errors import UsageError
from everforge.model.knowledge import KnowledgeEntry, KnowledgeFile


@functools.cache
def knowledge() -> tuple[KnowledgeEntry, ...]:
    """Every entry of the package, in the order of files and entries.

    Raises UsageError for a file that is not YAML or does not hold entries.
    """
    return tuple(entry for file in knowledge_files().values() for entry in file.entries)


def knowledge_files() -> dict[str, KnowledgeFile]:
    """Every file of the package by its name without the ending, in the order of names."""
    folder = resources.files("everforge") / "knowledge"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".yaml")), key=lambda path: path.name)
    return {path.name.removesuffix(".yaml"): read_knowledge(path) for path in paths}


def read_knowledge(path: Traversable) -> KnowledgeFile:
    """One file of entries. Raises UsageError that names the file, the entry and the field."""
    try:
        # The libyaml loader reads the package's files in 20 ms, the Python one in 300 ms; not every build has it.
        value = yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        return KnowledgeFile.model_validate(value)
    except yaml.YAMLError as error:
        raise UsageError(f"{path.name}: is no YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path.name}: {place}: {first['msg']}; see schemas/knowledge.json") from error
