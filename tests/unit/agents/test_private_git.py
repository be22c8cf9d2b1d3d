"""A task file from a repository that is not for everybody: git's own server, which wants a name and a password."""

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from everforge.agents.campaign_spec import assignment_of
from everforge.agents.git_task import GitRefused, GitUnreachable, text_at_commit
from everforge.agents.task_login import PASSWORD_KEY, USERNAME_KEY, Login
from everforge.errors import UsageError
from everforge.model.device import DeviceKind
from everforge.model.manifest import GitSource, KernelOptimization

TASK = "class Model: ...\n"
# What would break a URL or a header if it were not quoted.
LOGIN = Login("ci@team", "p:a/s@s#w%rd")


class GitServer(ThreadingHTTPServer):
    """Repositories below a directory, by `git http-backend`, for whoever knows the login."""

    daemon_threads = True

    def __init__(self, directory: Path, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), _Handler)
        self.directory = directory
        self.moved_to: str | None = None
        self.given: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/tasks"


class _Handler(BaseHTTPRequestHandler):
    server: GitServer

    def _answered(self) -> None:
        given = self.headers.get("Authorization")
        self.server.given.append(given)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.moved_to is not None:
            self.send_response(302)
            self.send_header("Location", self.server.moved_to + self.path)
            self.end_headers()
        elif given != LOGIN.basic:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="tasks"')
            self.end_headers()
        else:
            self._by_git(body)

    do_GET = do_POST = _answered

    def _by_git(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.server.directory),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().splitlines():
            self.send_header(*line.split(": ", 1))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def commit(tmp_path: Path) -> str:
    """A commit with the task, in the repository `tasks`, from which any commit may be asked for."""
    repository = tmp_path / "tasks"

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()

    repository.mkdir()
    git("init", "--quiet")
    (repository / "task.py").write_text(TASK)
    git("add", "task.py")
    git("commit", "--quiet", "-m", "task")
    return git("rev-parse", "HEAD")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    yield from serving(GitServer(tmp_path))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[GitServer]:
    yield from serving(GitServer(tmp_path))


def serving(server: GitServer) -> Iterator[GitServer]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def source(server: GitServer, commit: str) -> GitSource:
    return GitSource(url=server.url, commit=commit, path="task.py")


def test_task_of_a_private_repository_is_fetched_with_the_login(server: GitServer, commit: str) -> None:
    assert text_at_commit(source(server, commit), LOGIN) == TASK


def test_campaign_of_a_private_task_is_made_with_the_login(server: GitServer, commit: str) -> None:
    applied = {
        "apiVersion": "everforge.dev/v1alpha1",
        "kind": "KernelOptimization",
        "metadata": {"name": "softmax", "namespace": "team-a", "uid": "1234"},
        "spec": {
            "task": {"git": source(server, commit).written(), "secretName": "task-login"},
            "targets": [{"devicePool": "cpu"}],
        },
    }
    made = assignment_of(KernelOptimization.read(applied), "cpu", DeviceKind.CPU, login=LOGIN)
    assert made.spec.task.source == TASK


def test_private_repository_without_a_login_is_refused_with_what_helps(server: GitServer, commit: str) -> None:
    with pytest.raises(GitRefused, match=r"name a Secret with the login in spec\.task\.secretName"):
        text_at_commit(source(server, commit))
    assert set(server.given) == {None}


def test_login_that_is_not_taken_is_tried_again_for_its_secret_may_be_corrected(server: GitServer, commit: str) -> None:
    wrong = Login("ci@team", "wrong-password")
    with pytest.raises(GitUnreachable, match="correct the Secret") as refusal:
        text_at_commit(source(server, commit), wrong)
    assert "wrong-password" not in str(refusal.value)


def test_server_that_another_one_sends_us_on_to_is_not_given_the_login(
    server: GitServer, other: GitServer, commit: str
) -> None:
    server.moved_to = f"http://127.0.0.1:{other.server_address[1]}"
    with pytest.raises(GitUnreachable):
        text_at_commit(source(server, commit), LOGIN)
    assert set(other.given) == {None}


@pytest.mark.parametrize("url", ["http://git.example/tasks", "git://git.example/tasks", "ssh://git@git.example/tasks"])
def test_password_is_sent_without_tls_to_nobody(url: str, commit: str) -> None:
    with pytest.raises(GitRefused, match="is not https") as refusal:
        text_at_commit(GitSource(url=url, commit=commit, path="task.py"), LOGIN)
    assert refusal.value.field == "url"


def test_login_is_read_from_a_mounted_secret_and_shows_nowhere(tmp_path: Path) -> None:
    (tmp_path / USERNAME_KEY).write_text("ci@team\n")
    (tmp_path / PASSWORD_KEY).write_text("p:a/s@s#w%rd\n")
    login = Login.mounted_at(tmp_path)
    assert login == LOGIN
    assert "s#w" not in repr(login)


def test_secret_that_lacks_a_key_is_told_by_the_keys_name(tmp_path: Path) -> None:
    (tmp_path / USERNAME_KEY).write_text("ci")
    with pytest.raises(UsageError, match=f"no readable key {PASSWORD_KEY}"):
        Login.mounted_at(tmp_path)
