"""The runner's HTTP server: sessions and trials for one client, on a Unix socket or a TCP port.

Stdlib only, so that a bare GPU machine can run it. Routes and lines are in `everforge.model.session`; one request a
connection. Started by `__main__.py`.
"""

import contextlib
import hmac
import math
import socket
import socketserver
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from everforge.model.check import CheckCandidate
from everforge.model.credential import token_digest
from everforge.model.device import DeviceKind
from everforge.model.session import Failure, OpenSession, RunTrial
from everforge.runners.errands import Busy, Errand
from everforge.runners.workshop import Workshop

# A task of 64 KiB, a candidate of 1 MiB and their JSON escapes fit; a flood does not.
_BODY_LIMIT_BYTES = 8 << 20
# The one client, a reconnection of it, the kubelet's probes, and some room.
_CONNECTIONS = 16


@dataclass(frozen=True)
class Manners:
    """How a server treats its connections."""

    beat_s: float = 5.0
    """A blank line goes out after this long without news, so that neither end takes the other for gone."""
    request_s: float = 30.0
    """A request must have arrived whole by then, and each part of an answer be taken."""
    ends_with_client: bool = False
    """Whether work is given up when its client hangs up; else it goes on, and its outcome is kept."""


class Handler(BaseHTTPRequestHandler):
    """One connection of the client, with one request."""

    protocol_version = "HTTP/1.1"
    server: "RunnerServer"
    _deadline: threading.Timer

    def setup(self) -> None:
        """Give the whole request a time to arrive in: a client that sends a byte now and then gets no more."""
        super().setup()
        self.connection.settimeout(self.server.manners.request_s)
        self._deadline = threading.Timer(self.server.manners.request_s, self._hang_up)
        self._deadline.daemon = True
        self._deadline.start()

    def finish(self) -> None:
        """Flush what is left; a client that is gone needs none of it."""
        self._deadline.cancel()
        with contextlib.suppress(OSError):
            super().finish()

    def do_GET(self) -> None:
        """GET /v1/environment?device=cpu; and without a token /healthz, /readyz."""
        url = urlsplit(self.path)
        if url.path in ("/healthz", "/readyz"):
            return self._probe(url.path)
        workshop = self._workshop()
        if workshop is None:
            return None
        wanted = parse_qs(url.query).get("device", ["cpu"])[0]
        if url.path != "/v1/environment" or wanted not in set(DeviceKind):
            return self._refuse(404, f"no {self.path}; ask /v1/environment?device=cpu|cuda|xpu")
        return self._answer(lambda: workshop.environment(DeviceKind(wanted)))

    def do_POST(self) -> None:
        """POST /v1/sessions, POST /v1/sessions/{id}/trials, POST /v1/checks."""
        workshop = self._workshop()
        body = None if workshop is None else self._body()
        if workshop is None or body is None:
            return None
        parts = urlsplit(self.path).path.strip("/").split("/")
        try:
            if parts == ["v1", "sessions"]:
                opening = OpenSession.model_validate_json(body)
                return self._answer(lambda: workshop.open(opening))
            if parts == ["v1", "checks"]:
                asked = CheckCandidate.model_validate_json(body)
                return self._answer(lambda: workshop.check(asked))
            if len(parts) == 4 and parts[:2] == ["v1", "sessions"] and parts[3] == "trials":
                trial = RunTrial.model_validate_json(body)
                return self._answer(lambda: workshop.trial(parts[2], trial))
        except ValidationError as error:
            return self._refuse(400, str(error))
        return self._refuse(404, f"no {self.path}")

    def do_DELETE(self) -> None:
        """DELETE /v1/sessions/{id}."""
        workshop = self._workshop()
        if workshop is None:
            return None
        parts = urlsplit(self.path).path.strip("/").split("/")
        if len(parts) != 3 or parts[:2] != ["v1", "sessions"]:
            return self._refuse(404, f"no {self.path}")
        return self._answer(lambda: workshop.close_session(parts[2]))

    def _workshop(self) -> Workshop | None:
        """The workshop; None after refusing a client without the token, or one that came too early."""
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(token_digest(given), self.server.token_digest):
            self._refuse(401, "the token is missing or wrong", unread=True)
        elif self.server.workshop is None:
            self._refuse(503, "the runner is starting", retry_s=1.0, unread=True)
        else:
            return self.server.workshop
        return None

    def _probe(self, path: str) -> None:
        """/healthz: this process answers. /readyz: its warm process is up, and it takes requests."""
        ready = self.server.workshop is not None and self.server.workshop.is_sound and not self.server.is_ending
        text = b"ok\n" if ready or path == "/healthz" else b"not ready\n"
        self._send(200 if text == b"ok\n" else 503, "text/plain", text)

    def _body(self) -> bytes | None:
        """The request's body; None after refusing one that is too large or has no length, or for a lost client."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or len(length) > 10 or int(length) > _BODY_LIMIT_BYTES:
            self._refuse(413, f"a body of at most {_BODY_LIMIT_BYTES} bytes with Content-Length is needed", unread=True)
            return None
        body = self.rfile.read(int(length))
        self._deadline.cancel()
        if len(body) == int(length):
            return body
        self.close_connection = True
        return None

    def _answer(self, take: Callable[[], Errand | None]) -> None:
        """Answer with lines: progress as it comes, then the outcome or the failure."""
        self._deadline.cancel()
        try:
            errand = take()
        except Busy as busy:
            return self._refuse(503 if busy.retry_s is None else 409, str(busy), busy.retry_s)
        if errand is None:
            return self._refuse(404, "no such session; open one with POST /v1/sessions")
        try:
            self._pass_on(errand)
        except OSError:  # the client hung up, or takes nothing any more
            self.close_connection = True
            if self.server.manners.ends_with_client:
                errand.abandon()
        return None

    def _pass_on(self, errand: Errand) -> None:
        self._head(200, "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in errand.follow(self.server.manners.beat_s):
            data = b"\n" if line is None else line.model_dump_json().encode() + b"\n"
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, status: int, message: str, retry_s: float | None = None, unread: bool = False) -> None:
        """Answer with the reason. A body left unread is taken and thrown away: closing on it would reset the connection
        before the client has read why.
        """
        body = Failure(kind="harness", message=message).model_dump_json().encode()
        with contextlib.suppress(OSError):
            self._send(status, "application/json", body, retry_s)
            if unread:
                self.connection.shutdown(socket.SHUT_WR)
                while self.rfile.read1(1 << 16):
                    pass

    def _send(self, status: int, media_type: str, body: bytes, retry_s: float | None = None) -> None:
        self._head(status, media_type)
        if retry_s is not None:
            self.send_header("Retry-After", str(math.ceil(retry_s)))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, status: int, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Connection", "close")  # which http.server takes as said to itself

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def address_string(self) -> str:
        """A Unix socket's client has no address."""
        return "client"

    def log_message(self, *_: Any) -> None:
        """Requests are not logged: trials are, by the client."""


class RunnerServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves one workshop to clients that know the token with the digest `credential`.

    The workshop may come later than the port.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = _CONNECTIONS

    def __init__(
        self,
        address: tuple[str, int] | Path,
        credential: str,
        log: Callable[[str], None],
        manners: Manners,
        workshop: Workshop | None = None,
    ) -> None:
        self.token_digest = credential
        self.manners = manners
        self.workshop = workshop
        self.is_ending = False
        self._log = log
        self._connections = threading.Semaphore(_CONNECTIONS)
        if isinstance(address, Path):
            self.address_family = socket.AF_UNIX
            self.allow_reuse_address = False
        elif ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(str(address) if isinstance(address, Path) else address, Handler)  # type: ignore[arg-type]
        if isinstance(address, Path):
            address.chmod(0o600)

    @property
    def port(self) -> int:
        """The TCP port, also where any was asked for."""
        return int(self.socket.getsockname()[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; hang up on one too many."""
        if self._connections.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def await_answers(self, timeout_s: float) -> None:
        """Wait until every connection has its answer, at most so long."""
        deadline_s = time.monotonic() + timeout_s
        for _ in range(_CONNECTIONS):
            self._connections.acquire(timeout=max(0.0, deadline_s - time.monotonic()))

    def handle_error(self, *_: Any) -> None:
        """An error outside any answer, such as a broken connection: it goes to the log."""
        self._log(traceback.format_exc())
