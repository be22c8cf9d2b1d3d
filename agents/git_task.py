"""Fetches a task file from a git commit; `cli/task_source.py` and an agent's pod call it."""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from everforge.errors import HarnessFault, UsageError
from everforge.model.manifest import GitSource

# A shallow fetch of one commit; a slow network and a large repository take less.
GIT_TIMEOUT_S = 300.0
# What git, curl and ssh say where the other end is away for now; LC_ALL=C keeps it English.
_AWAY = re.compile(
    "Could not resolve host|Failed to connect|Couldn't connect|Connection (refused|reset|timed out)"
    r"|Network is unreachable|Operation timed out|returned error: (429|5\d\d)|early EOF|unexpected disconnect"
    "|did not end within"
)


class GitRefused(UsageError):
    """Git does not give the file; `field` of the source is to blame, None where it is all of it."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class GitUnreachable(HarnessFault):
    """The repository's server does not answer now: to be tried again."""


def text_at_commit(source: GitSource) -> str:
    """The file's text.

    Raises GitRefused for what git cannot fetch, GitUnreachable where it may another time, UsageError without git.
    """
    with tempfile.TemporaryDirectory(prefix="everforge-git-") as directory:
        fetched = _git(["init", "--quiet"], directory) or _git(
            ["fetch", "--quiet", "--depth", "1", "--", source.url, source.commit], directory
        )
        if fetched:
            kind = GitUnreachable if _AWAY.search(fetched) else GitRefused
            raise kind(f"cannot fetch commit {source.commit} of {source.url}: {fetched}")
        path = Path(directory) / "task"
        shown = _git(["show", f"FETCH_HEAD:{source.path}"], directory, path)
        if shown:
            raise GitRefused(f"no file {source.path} in that commit: {shown}", "path")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise GitRefused(f"{source.path} is not UTF-8 text", "path") from None


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
