"""Fetches the task file a manifest names: inline, from a ConfigMap in the same file, or from a git commit.

`cli/campaign_plan.py` calls `task_text`; what a task file must hold is checked by `cli/task_file.py`.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from everforge.cli.manifest_file import ManifestFile
from everforge.errors import UsageError
from everforge.model.manifest import ConfigMapKey, GitSource

# A shallow fetch of one commit; a slow network and a large repository take less.
GIT_TIMEOUT_S = 300.0


def task_text(file: ManifestFile) -> str:
    """The task's source.

    Raises UsageError for a ConfigMap that is not in the file, a commit that git cannot fetch, an image.
    """
    task = file.manifest.spec.task
    if task.inline is not None:
        return task.inline
    if task.config_map is not None:
        return _from_config_map(file, task.config_map)
    if task.git is not None:
        return _from_git(file, task.git)
    raise file.error(("spec", "task", "oci"), "an image is read on a cluster only; use inline, configMap or git here")


def place_of_task(file: ManifestFile) -> str:
    """Where the task's source stands, for messages that go on with a line of it."""
    task = file.manifest.spec.task
    if task.git is not None:
        return f"{task.git.url}@{task.git.commit[:12]}:{task.git.path}"
    if task.config_map is not None:
        return f"{file.path} (ConfigMap {task.config_map.name}, key {task.config_map.key})"
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
    location = ("spec", "task", "git")
    with tempfile.TemporaryDirectory(prefix="everforge-git-") as directory:
        fetched = _git(["init", "--quiet"], directory) or _git(
            ["fetch", "--quiet", "--depth", "1", "--", source.url, source.commit], directory
        )
        if fetched:
            raise file.error(location, f"cannot fetch commit {source.commit} of {source.url}: {fetched}")
        path = Path(directory) / "task"
        shown = _git(["show", f"FETCH_HEAD:{source.path}"], directory, path)
        if shown:
            raise file.error((*location, "path"), f"no file {source.path} in that commit: {shown}")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise file.error((*location, "path"), f"{source.path} is not UTF-8 text") from None


def _git(arguments: Sequence[str], directory: str, output: Path | None = None) -> str:
    """Run git; empty when it went well, else what it said. Raises UsageError where there is no git."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError("spec.task.git needs git; install it, or give the task inline") from None
    except subprocess.TimeoutExpired:
        return f"git did not end within {GIT_TIMEOUT_S:g} s"
    if done.returncode == 0 and output is not None:
        output.write_bytes(done.stdout)
    return "" if done.returncode == 0 else done.stderr.decode("utf-8", "replace").strip() or "git failed"
