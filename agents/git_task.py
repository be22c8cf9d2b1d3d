"""Fetches a task file from a git commit; `cli/task_source.py` and an agent's pod call it.

On a workstation git asks for passwords as it is set up to; a pod gives it the login of a Secret, through git's own
`store` helper, which hands a password to the server it belongs to and to no other.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from everforge.agents.task_login import Login, is_private
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
# What it says where the server wants a login, or another one.
_CLOSED = re.compile("Authentication failed|could not read (Username|Password)|returned error: 40[13]")


class GitRefused(UsageError):
    """Git does not give the file; `field` of the source is to blame, None where it is all of it."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class GitUnreachable(HarnessFault):
    """The repository's server does not give anything now: to be tried again."""


def text_at_commit(source: GitSource, login: Login | None = None) -> str:
    """The file's text.

    Raises GitRefused for what git cannot fetch, GitUnreachable where it may another time, UsageError without git.
    """
    with tempfile.TemporaryDirectory(prefix="everforge-git-") as directory:
        _fetch(source, login, directory)
        path = Path(directory) / "task"
        shown = _git(["show", f"FETCH_HEAD:{source.path}"], directory, path)
        if shown:
            raise GitRefused(f"no file {source.path} in that commit: {shown}", "path")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise GitRefused(f"{source.path} is not UTF-8 text", "path") from None


def _fetch(source: GitSource, login: Login | None, directory: str) -> None:
    options = [] if login is None else _helper(source, login, directory)
    fetch = [*options, "fetch", "--quiet", "--depth", "1", "--", source.url, source.commit]
    if said := _git(["init", "--quiet"], directory) or _git(fetch, directory):
        what = f"cannot fetch commit {source.commit} of {source.url}: {said}"
        raise _failure(what, said, login)


def _failure(what: str, said: str, login: Login | None) -> GitRefused | GitUnreachable:
    if _CLOSED.search(said):
        if login is not None:
            return GitUnreachable(f"{what}; correct the Secret of spec.task.secretName: the next attempt reads it anew")
        return GitRefused(f"{what}; on a cluster, name a Secret with the login in spec.task.secretName")
    return (GitUnreachable if _AWAY.search(said) else GitRefused)(what)


def _helper(source: GitSource, login: Login, directory: str) -> list[str]:
    """Options by which git finds the login in a file of its own, and no other helper."""
    if not is_private(source.url):
        raise GitRefused(f"{source.url} is not https://, and a password is sent to no other", "url")
    file = Path(directory) / "login"
    file.touch(mode=0o600)
    file.write_text(login.url_of(source.url) + "\n", encoding="utf-8")
    return ["-c", "credential.helper=", "-c", f"credential.helper=store --file={file}"]


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
