"""Fetches the task file a manifest names: inline, from a ConfigMap in the same file, a git commit or a registry.

`cli/campaign_plan.py` calls `task_text`; what a task file must hold is checked by `cli/task_file.py`.
"""

from everforge.agents.git_task import GitRefused, text_at_commit
from everforge.agents.oci_task import OciRefused, text_at_digest
from everforge.cli.manifest_file import ManifestFile
from everforge.model.manifest import ConfigMapKey, GitSource


def task_text(file: ManifestFile) -> str:
    """The task's source.

    Raises UsageError for a ConfigMap that is not in the file, a commit or an artifact that is not there; HarnessFault
    for a server that does not answer.
    """
    task = file.manifest.spec.task
    if task.inline is not None:
        return task.inline
    if task.config_map is not None:
        return _from_config_map(file, task.config_map)
    if task.git is not None:
        return _from_git(file, task.git)
    if task.oci is not None:
        return _from_registry(file, task.oci)
    raise file.error(("spec", "task"), "there is no task: set one of inline, configMap, git, oci")


def place_of_task(file: ManifestFile) -> str:
    """Where the task's source stands, for messages that go on with a line of it."""
    task = file.manifest.spec.task
    if task.git is not None:
        return f"{task.git.url}@{task.git.commit[:12]}:{task.git.path}"
    if task.config_map is not None:
        return f"{file.path} (ConfigMap {task.config_map.name}, key {task.config_map.key})"
    if task.oci is not None:
        return task.oci
    line = file.document.line_of(("spec", "task", "inline"))
    return f"{file.path} (spec.task.inline, below line {line})"


def _from_config_map(file: ManifestFile, wanted: ConfigMapKey) -> str:
    location = ("spec", "task", "configMap")
    data = {
        str(document.value_at(("metadata", "name"))): document.value_at(("data",)) or {}
        for document in file.config_maps
    }
    if wanted.name not in data:
        known = ", ".join(data) or "none"
        raise file.error(
            (*location, "name"),
            f"no ConfigMap {wanted.name} in this file (it holds: {known}); "
            "on a workstation it must stand in the same file, after a line ---",
        )
    text = data[wanted.name].get(wanted.key) if isinstance(data[wanted.name], dict) else None
    if not isinstance(text, str):
        known = ", ".join(map(str, data[wanted.name])) or "none"
        raise file.error(
            (*location, "key"), f"ConfigMap {wanted.name} has no text under {wanted.key}; its keys: {known}"
        )
    return text


def _from_git(file: ManifestFile, source: GitSource) -> str:
    try:
        return text_at_commit(source)
    except GitRefused as refusal:
        place = () if refusal.field is None else (refusal.field,)
        raise file.error(("spec", "task", "git", *place), str(refusal)) from None


def _from_registry(file: ManifestFile, reference: str) -> str:
    try:
        return text_at_digest(reference)
    except OciRefused as refusal:
        raise file.error(("spec", "task", "oci"), str(refusal)) from None
