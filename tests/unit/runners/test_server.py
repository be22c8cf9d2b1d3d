"""The server's manners: beats, clients that hang up or are slow, floods of connections, and what probes are told."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from everforge.clock import SystemClock
from everforge.model.base import Record
from everforge.model.credential import token_digest
from everforge.model.device import DeviceKind
from everforge.model.session import Outcome, Progress
from everforge.runners.errands import Abandoned, Bench, Errand
from everforge.runners.server import Manners, RunnerServer
from everforge.testing import samples

TOKEN = "0123456789abcdef" * 4


class Workshop:
    """Answers a question about the environment when it is let; a real bench does the waiting."""

    is_sound = True

    def __init__(self) -> None:
        self.bench = Bench(SystemClock(), queues=False)
        self.begun, self.let, self.over = threading.Event(), threading.Event(), threading.Event()
        self.was_abandoned = False

    def environment(self, _kind: DeviceKind) -> Errand:
        return self.bench.take("environment", self._work)

    def _work(self, errand: Errand) -> Record:
        self.begun.set()
        assert self.let.wait(30)
        try:
            errand.say(Progress(stage="environment"))
        except Abandoned:
            self.was_abandoned = True
            raise
        finally:
            self.over.set()
        return Outcome(environment=samples.environment())


Serve = Callable[..., RunnerServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def served(manners: Manners, workshop: Any = None) -> RunnerServer:
            server = RunnerServer(("127.0.0.1", 0), token_digest(TOKEN), lambda _: None, manners, workshop)
            stack.callback(server.server_close)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield served


def connected(server: RunnerServer) -> socket.socket:
    end = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    end.settimeout(30)
    return end


def asked(server: RunnerServer) -> socket.socket:
    """A connection on which the environment was asked for."""
    end = connected(server)
    end.sendall(f"GET /v1/environment?device=cpu HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    return end


def status_of(server: RunnerServer, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


def until(end: socket.socket, text: bytes) -> bytes:
    received = b""
    while text not in received:
        data = end.recv(4096)
        assert data, received
        received += data
    return received


def test_silence_is_broken_by_blank_lines_before_the_outcome(serve: Serve) -> None:
    workshop = Workshop()
    with asked(serve(Manners(beat_s=0.01), workshop)) as end:
        until(end, b"1\r\n\n\r\n1\r\n\n\r\n")
        workshop.let.set()
        assert b"workstation" in until(end, b"0\r\n\r\n")


@pytest.mark.parametrize("ends_with_client", [True, False])
def test_work_ends_with_its_client_on_a_socket_and_goes_on_over_tcp(serve: Serve, ends_with_client: bool) -> None:
    workshop = Workshop()
    server = serve(Manners(beat_s=0.01, ends_with_client=ends_with_client), workshop)
    with asked(server):
        assert workshop.begun.wait(30)
    # Only the connection's own end can tell; it is over once every connection is free again.
    if ends_with_client:
        server.await_answers(30)
    workshop.let.set()
    assert workshop.over.wait(30)
    assert workshop.bench.drain(30)
    assert workshop.was_abandoned is ends_with_client


def test_request_that_does_not_arrive_is_hung_up_on(serve: Serve) -> None:
    with connected(serve(Manners(request_s=0.1), Workshop())) as slow:
        slow.sendall(b"POST /v1/sessions HTTP/1.1\r\nAuthorization: ")
        assert slow.recv(1) == b""


def test_one_connection_too_many_is_hung_up_on(serve: Serve) -> None:
    server = serve(Manners(), Workshop())
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(connected(server))
        with connected(server) as one_more:
            assert one_more.recv(1) == b""


def test_probes_tell_a_runner_that_starts_or_ends_from_one_that_is_ready(serve: Serve) -> None:
    server = serve(Manners())
    assert [status_of(server, path) for path in ("/healthz", "/readyz")] == [200, 503]
    server.workshop = Workshop()  # type: ignore[assignment]
    assert status_of(server, "/readyz") == 200
    server.is_ending = True
    assert [status_of(server, path) for path in ("/healthz", "/readyz")] == [200, 503]


def test_client_that_comes_before_the_warm_process_is_told_to_come_again(serve: Serve) -> None:
    with asked(serve(Manners())) as end:
        told = until(end, b"the runner is starting")
    assert b" 503 " in told
    assert b"Retry-After: 1" in told
