"""A runner as a pod runs it, on a port of the loopback, and a line to it that can be cut."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from everforge.agents.runner_client import Patience, RunnerClient
from everforge.model.credential import token_digest

TOKEN = "0123456789abcdef" * 4
# Short, so that a lost runner is known for lost within a test.
PATIENCE = Patience(connect_s=5.0, beat_s=20.0, lost_s=3.0, first_delay_s=0.05, longest_delay_s=0.2)


class RunnerPod:
    """A runner process on a TCP port."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.address = ("127.0.0.1", int(self._said("listening on port ")))

    def _said(self, beginning: str) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line.startswith(beginning), line
        return line.removeprefix(beginning)

    def await_ready(self) -> None:
        self._said("ready")

    def client(self, address: tuple[str, int] | None = None, token: str = TOKEN) -> RunnerClient:
        return RunnerClient(address or self.address, token, patience=PATIENCE)

    def signalled(self, number: int) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture(scope="session")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o440)
    return path


@contextmanager
def running_pod(*options: str) -> Iterator[RunnerPod]:
    command = [sys.executable, "-m", "everforge.runners", "--listen", "127.0.0.1:0"]
    credential = [] if {"--token-file", "--token-digest"} & set(options) else ["--token-digest", token_digest(TOKEN)]
    process = subprocess.Popen(
        [*command, *credential, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        pod = RunnerPod(process)
        pod.await_ready()
        yield pod
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def start_pod() -> Iterator[Callable[..., RunnerPod]]:
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(running_pod(*options))


class Line:
    """A TCP proxy to one address; `cut` breaks what is connected, and what is said from then on."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = ("127.0.0.1", self._listener.getsockname()[1])
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, as a network does: without a last word."""
        for near, far in self._pairs:
            for end in (near, far):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._target) as far:
            self._pairs.append((near, far))
            back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
            back.start()
            self._pass_on(near, far)
            back.join()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def line_to() -> Iterator[Callable[[tuple[str, int]], Line]]:
    lines: list[Line] = []

    def made(target: tuple[str, int]) -> Line:
        lines.append(Line(target))
        return lines[-1]

    yield made
    for line in lines:
        line.close()
