"""A task file from a registry: found by its digest, with a token that anybody gets, and refused for what it is not."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from everforge.agents.oci_task import TASK_BYTES, OciRefused, OciUnreachable, text_at_digest
from everforge.agents.task_login import Login

TASK = "import torch\n\nclass Model: ...\n"
LOGIN = Login("ci", "a:b\u00e9@")
TAR = "application/vnd.oci.image.layer.v1.tar"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry(ThreadingHTTPServer):
    """One repository, `tasks/softmax`; with `token` set it wants that, and says where to get it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content: dict[str, bytes] = {}
        self.token: str | None = None
        self.password = False
        self.status: int | None = None
        self.moved = False
        self.realm: str | None = None
        self.carried: list[str | None] = []
        self.logins: list[str | None] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def pushed(self, *files: tuple[str | None, bytes, str]) -> str:
        """The reference of an artifact with these files: title, data, media type."""
        layers = []
        for title, data, media_type in files:
            self.content[digest_of(data)] = data
            annotations = {} if title is None else {"annotations": {"org.opencontainers.image.title": title}}
            layers.append({"mediaType": media_type, "digest": digest_of(data), "size": len(data), **annotations})
        return self.kept(json.dumps({"schemaVersion": 2, "layers": layers}).encode())

    def kept(self, manifest: bytes) -> str:
        self.content[digest_of(manifest)] = manifest
        return f"{self.host}/tasks/softmax:v1@{digest_of(manifest)}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        wanted = self.server.token
        given = self.headers.get("Authorization")
        if self.path.startswith("/token"):
            self.server.logins.append(given)
            if self.server.password and given != LOGIN.basic:
                return self._answer(401, b"")
            return self._answer(200, json.dumps({"token": wanted}).encode())
        if self.path.startswith("/storage/"):
            self.server.carried.append(given)
            return self._answer(200, self.server.content[self.path.rpartition("/")[2]])
        if self.server.status is not None:
            return self._answer(self.server.status, b"")
        if self.server.password and wanted is None and given != LOGIN.basic:
            return self._answer(401, b"", **{"WWW-Authenticate": 'Basic realm="tasks"'})
        if wanted is not None and given != f"Bearer {wanted}":
            realm = self.server.realm or f"http://{self.server.host}/token"
            challenge = f'Bearer realm="{realm}",service="s",scope="repository:tasks/softmax:pull"'
            return self._answer(401, b"", **{"WWW-Authenticate": challenge})
        return self._content()

    def _content(self) -> None:
        kind, digest = self.path.removeprefix("/v2/tasks/softmax/").split("/")
        found = self.server.content.get(digest)
        if found is None:
            return self._answer(404, b"")
        if kind == "blobs" and self.server.moved:
            return self._answer(307, b"", Location=f"http://{self.server.host}/storage/{digest}")
        return self._answer(200, found)

    def _answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "files",
    [
        [("task.py", TASK.encode(), TAR)],
        [(None, TASK.encode(), "text/x-python")],
        [("README.md", b"# tasks", TAR), ("task.py", TASK.encode(), "text/x-python")],
    ],
)
def test_file_of_an_artifact_is_the_task(registry: Registry, files: list[Any]) -> None:
    assert text_at_digest(registry.pushed(*files)) == TASK


def test_token_is_fetched_where_one_is_wanted_and_told_to_nobody_else(registry: Registry) -> None:
    reference = registry.pushed(("task.py", TASK.encode(), TAR))
    registry.token, registry.moved = "secret", True
    assert text_at_digest(reference) == TASK
    assert registry.carried == [None]


def test_registry_that_wants_a_password_is_refused_with_what_helps(registry: Registry) -> None:
    registry.password = True
    with pytest.raises(OciRefused, match=r"wants a password.*put the task into a ConfigMap"):
        text_at_digest(registry.pushed(("task.py", TASK.encode(), TAR)))


def test_login_is_given_where_a_password_is_wanted_and_to_nobody_else(registry: Registry) -> None:
    reference = registry.pushed(("task.py", TASK.encode(), TAR))
    registry.password, registry.moved = True, True
    assert text_at_digest(reference, LOGIN) == TASK
    assert registry.carried == [None]


def test_token_is_fetched_in_the_name_of_the_login(registry: Registry) -> None:
    reference = registry.pushed(("task.py", TASK.encode(), TAR))
    registry.password, registry.token = True, "secret"
    assert text_at_digest(reference, LOGIN) == TASK
    assert registry.logins == [LOGIN.basic]


def test_login_is_not_given_where_nobody_asks_for_it(registry: Registry) -> None:
    registry.moved = True
    assert text_at_digest(registry.pushed(("task.py", TASK.encode(), TAR)), LOGIN) == TASK
    assert (registry.logins, registry.carried) == ([], [None])


@pytest.mark.parametrize("token", [None, "secret"])
def test_login_that_is_not_taken_is_tried_again_for_its_secret_may_be_corrected(
    registry: Registry, token: str | None
) -> None:
    registry.password, registry.token = True, token
    with pytest.raises(OciUnreachable, match=r"spec\.task\.secretName: correct the Secret"):
        text_at_digest(registry.pushed(("task.py", TASK.encode(), TAR)), Login("ci", "wrong"))


def test_login_is_sent_to_no_authority_without_tls(registry: Registry) -> None:
    registry.token, registry.realm = "secret", "http://registry.example/token"
    with pytest.raises(OciRefused, match="without TLS"):
        text_at_digest(registry.pushed(("task.py", TASK.encode(), TAR)), LOGIN)


@pytest.mark.parametrize("what", ["manifest", "file"])
def test_what_is_not_what_the_digest_says_is_refused(registry: Registry, what: str) -> None:
    reference = registry.pushed(("task.py", TASK.encode(), TAR))
    digest = reference.partition("@")[2] if what == "manifest" else digest_of(TASK.encode())
    registry.content[digest] += b" "
    with pytest.raises(OciRefused, match=f"is not what {digest} says"):
        text_at_digest(reference)


def test_what_is_not_there_is_refused(registry: Registry) -> None:
    reference = registry.pushed(("task.py", TASK.encode(), TAR))
    registry.content.clear()
    with pytest.raises(OciRefused, match=r"is not there: .* answers 404"):
        text_at_digest(reference)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_registry_that_cannot_now_is_tried_again(registry: Registry, status: int) -> None:
    registry.status = status
    with pytest.raises(OciUnreachable, match=f"answers {status}"):
        text_at_digest(registry.pushed(("task.py", TASK.encode(), TAR)))


def test_registry_that_is_away_is_tried_again() -> None:
    with pytest.raises(OciUnreachable, match="cannot be fetched"):
        text_at_digest(f"127.0.0.1:9/tasks@sha256:{'0' * 64}")


@pytest.mark.parametrize(
    "files",
    [
        [],
        [(None, b"layer", TAR)],
        [("a.py", b"a", TAR), ("b.py", b"b", TAR)],
    ],
)
def test_artifact_that_is_not_one_file_is_refused(registry: Registry, files: list[Any]) -> None:
    with pytest.raises(OciRefused, match="push the file by itself"):
        text_at_digest(registry.pushed(*files))


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b'{"layers": 1}', b'{"layers": [1]}', b'{"manifests": []}'])
def test_what_is_no_image_manifest_is_refused(registry: Registry, manifest: bytes) -> None:
    with pytest.raises(OciRefused, match="is no image manifest"):
        text_at_digest(registry.kept(manifest))


def test_file_that_is_too_long_or_no_text_is_refused(registry: Registry) -> None:
    with pytest.raises(OciRefused, match=f"more than {TASK_BYTES} bytes"):
        text_at_digest(registry.pushed(("task.py", b" " * (TASK_BYTES + 1), TAR)))
    with pytest.raises(OciRefused, match="is not UTF-8 text"):
        text_at_digest(registry.pushed(("task.py", b"\xff", TAR)))


@pytest.mark.parametrize("name", ["tasks", "library/tasks"])
def test_registry_must_be_named(name: str) -> None:
    with pytest.raises(OciRefused, match="names no registry: write it in full"):
        text_at_digest(f"{name}@sha256:{'0' * 64}")
