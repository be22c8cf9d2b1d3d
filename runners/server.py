"""The runner's HTTP server: sessions and trials for one client, on a Unix socket or a TCP port.

Stdlib only, so that a bare GPU machine can run it. Routes and lines are in `everforge.model.session`.
One request works on the device at a time. Started by `__main__.py`.
"""

import contextlib
import hmac
import socketserver
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import torch
from pydantic import ValidationError

from everforge.errors import DeviceFault, HarnessFault, TaskError
from everforge.model.base import Record
from everforge.model.check import CheckCandidate, CheckReport
from everforge.model.device import DeviceKind, Environment, Peaks
from everforge.model.precision import Precision
from everforge.model.session import Failure, OpenSession, Outcome, Progress, RunTrial, SessionOpened
from everforge.runners.checks import Check
from everforge.runners.devices import device_of
from everforge.runners.environment import environment_of
from everforge.runners.nursery import Nursery
from everforge.runners.roofline import measured_peaks
from everforge.runners.sessions import Session, session_id_of

# A task of 64 KiB, a candidate of 1 MiB and their JSON escapes fit; a flood does not.
_BODY_LIMIT_BYTES = 8 << 20

Emit = Callable[[Record], None]


class Workshop:
    """What the server holds: the warm process, the device's peaks, the open sessions."""

    def __init__(self, root: Path, device_index: int = 0) -> None:
        self._nursery = Nursery(root)
        self._device_index = device_index
        self._peaks: dict[tuple[DeviceKind, Precision], Peaks] = {}
        self._sessions: dict[str, Session] = {}
        # One request uses the device at a time, all on one thread: torch.export in a second thread of a process
        # was seen to crash it (torch 2.11 with CUDA and no GPU).
        self._bench = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bench")

    def at_bench(self, work: Callable[[], Record]) -> Record:
        """Do what uses the device, after all that was asked before."""
        return self._bench.submit(work).result()

    def environment(self, kind: DeviceKind) -> Environment:
        """The environment of a device. Raises DeviceFault if it is not there."""
        return environment_of(device_of(kind), self._nursery.layers, self._device_index)

    def open(self, request: OpenSession, emit: Emit) -> SessionOpened:
        """Open a session. Raises TaskError, DeviceFault, HarnessFault."""
        device = device_of(request.device)
        emit(Progress(stage="environment"))
        environment = self.environment(request.device)
        ceiling = request.device, request.task.precision
        if ceiling not in self._peaks:
            emit(Progress(stage="peaks"))
            self._peaks[ceiling] = measured_peaks(self._nursery, device, request.task.precision)
        session = Session(request, device, environment, self._peaks[ceiling], self._nursery)
        try:
            facts = session.open(lambda stage, detail: emit(Progress(stage=stage, detail=detail)))
        except BaseException:
            session.close()
            raise
        session_id = session_id_of(request)
        self._sessions[session_id] = session
        return SessionOpened(session_id=session_id, facts=facts)

    def check(self, request: CheckCandidate, emit: Emit) -> CheckReport:
        """Check a candidate without its device. Raises TaskError, HarnessFault."""
        check = Check(request, self._nursery, lambda stage, detail: emit(Progress(stage=stage, detail=detail)))
        return check.run()

    def session(self, session_id: str) -> Session | None:
        """An open session."""
        return self._sessions.get(session_id)

    def close_session(self, session_id: str) -> None:
        """Close a session, if it is open."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Close everything; work that is under way fails for want of its workers, and is waited for."""
        self._nursery.close()
        self._bench.shutdown(wait=True, cancel_futures=True)
        for session_id in list(self._sessions):
            self.close_session(session_id)


class Handler(BaseHTTPRequestHandler):
    """One connection of the client."""

    protocol_version = "HTTP/1.1"
    server: "RunnerServer"

    def do_GET(self) -> None:
        """GET /v1/environment?device=cpu."""
        url = urlsplit(self.path)
        wanted = parse_qs(url.query).get("device", ["cpu"])[0]
        if url.path != "/v1/environment" or wanted not in set(DeviceKind):
            return self._refuse(404, f"no {self.path}; ask /v1/environment?device=cpu|cuda|xpu")
        return self._stream(lambda _: Outcome(environment=self.server.workshop.environment(DeviceKind(wanted))))

    def do_POST(self) -> None:
        """POST /v1/sessions, POST /v1/sessions/{id}/trials, POST /v1/checks."""
        parts = urlsplit(self.path).path.strip("/").split("/")
        body = self._body()
        if body is None:
            return None
        try:
            if parts == ["v1", "sessions"]:
                opening = OpenSession.model_validate_json(body)
                return self._stream(lambda emit: Outcome(session=self.server.workshop.open(opening, emit)))
            if parts == ["v1", "checks"]:
                asked = CheckCandidate.model_validate_json(body)
                return self._stream(lambda emit: Outcome(check=self.server.workshop.check(asked, emit)))
            if len(parts) == 4 and parts[:2] == ["v1", "sessions"] and parts[3] == "trials":
                return self._trial(parts[2], RunTrial.model_validate_json(body))
        except ValidationError as error:
            return self._refuse(400, str(error))
        return self._refuse(404, f"no {self.path}")

    def do_DELETE(self) -> None:
        """DELETE /v1/sessions/{id}."""
        parts = urlsplit(self.path).path.strip("/").split("/")
        if len(parts) != 3 or parts[:2] != ["v1", "sessions"]:
            return self._refuse(404, f"no {self.path}")

        def close(_: Emit) -> Outcome:
            self.server.workshop.close_session(parts[2])
            return Outcome()

        return self._stream(close)

    def _trial(self, session_id: str, request: RunTrial) -> None:
        session = self.server.workshop.session(session_id)
        if session is None:
            return self._refuse(404, f"no session {session_id}; open one with POST /v1/sessions")

        def run(emit: Emit) -> Outcome:
            def news(stage: str, detail: str) -> None:
                emit(Progress(stage=stage, detail=detail))

            return Outcome(evaluation=session.run(request, news))

        return self._stream(run)

    def _body(self) -> bytes | None:
        """The request's body; None after refusing one that is too large or has no length."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _BODY_LIMIT_BYTES:
            self._refuse(400, f"a body of at most {_BODY_LIMIT_BYTES} bytes with Content-Length is needed")
            return None
        return self.rfile.read(int(length))

    def _authorized(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.server.token.encode())

    def _refuse(self, status: int, message: str) -> None:
        body = Failure(kind="harness", message=message).model_dump_json().encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, work: Callable[[Emit], Outcome]) -> None:
        """Answer with lines: progress as it comes, then the outcome or the failure."""
        if not self._authorized():
            return self._refuse(401, "the token is missing or wrong")
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # A client that hung up ends the work: nobody would read the outcome.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._emit(self.server.workshop.at_bench(lambda: self._last_line(work)))
            self.wfile.write(b"0\r\n\r\n")
        return None

    def _last_line(self, work: Callable[[Emit], Outcome]) -> Record:
        try:
            return work(self._emit)
        except TaskError as error:
            return Failure(kind="usage", message=str(error))
        except (DeviceFault, torch.OutOfMemoryError, torch.AcceleratorError) as error:
            return Failure(kind="device", message=str(error))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except HarnessFault as error:
            return Failure(kind="harness", message=str(error))
        except Exception as error:  # noqa: BLE001 - the border of the process: the client must learn that it broke
            self.server.log_fault(error)
            return Failure(kind="harness", message=f"{type(error).__name__}: {error}")

    def _emit(self, line: Record) -> None:
        data = line.model_dump_json().encode() + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def address_string(self) -> str:
        """A Unix socket's client has no address."""
        return "client"

    def log_message(self, *_: Any) -> None:
        """Requests are not logged: trials are, by the client."""


class RunnerServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves one workshop to clients that know the token."""

    daemon_threads = True

    def __init__(self, socket_path: Path, token: str, workshop: Workshop, log: Callable[[str], None]) -> None:
        super().__init__(str(socket_path), Handler)
        socket_path.chmod(0o600)
        self.token = token
        self.workshop = workshop
        self._log = log

    def log_fault(self, error: BaseException) -> None:
        """Write an unexpected error's traceback to the runner's log."""
        self._log("".join(traceback.format_exception(error)))

    def handle_error(self, *_: Any) -> None:
        """An error outside any answer, such as a broken connection: it goes to the log."""
        self._log(traceback.format_exc())
