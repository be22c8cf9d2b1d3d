"""A runner at the other end of a Unix socket: HTTP with one JSON record a line, as model/session.py says.

Implements `search.runner_port.Runner` for the campaign loop; `everforge evaluate` uses it too.
"""

import http.client
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from everforge.errors import DeviceFault, HarnessFault, TaskError
from everforge.model.base import Record
from everforge.model.check import CheckCandidate, CheckReport
from everforge.model.device import DeviceKind, Environment
from everforge.model.evaluation import Evaluation
from everforge.model.session import Failure, OpenSession, Outcome, Progress, RunTrial, SessionOpened
from everforge.search.runner_port import OnProgress

# Above the longest silent stretch of a trial: its 120 s of wall time, plus one slow `torch.compile`.
SILENCE_S = 600.0

T = TypeVar("T")
_LINE: TypeAdapter[Progress | Failure | Outcome] = TypeAdapter(Progress | Failure | Outcome)
_FAULTS = {"usage": TaskError, "device": DeviceFault, "harness": HarnessFault}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _no_postmortem() -> str:
    return ""


class RunnerClient:
    """Asks a runner; `postmortem` says what became of its process when it is gone."""

    def __init__(
        self,
        socket_path: Path,
        token: str,
        postmortem: Callable[[], str] = _no_postmortem,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._socket_path = socket_path
        self._token = token
        self._postmortem = postmortem
        self._silence_s = silence_s

    def environment(self, device: DeviceKind) -> Environment:
        """What the runner's machine is. Raises DeviceFault where it has no such device."""
        outcome = self._ask("GET", f"/v1/environment?device={device}", None, _ignore)
        return _part(outcome.environment, "environment")

    def open_session(self, request: OpenSession, on_progress: OnProgress) -> SessionOpened:
        """Load a task and measure its baselines. Raises TaskError, DeviceFault or HarnessFault."""
        return _part(self._ask("POST", "/v1/sessions", request, on_progress).session, "session")

    def run_trial(self, session_id: str, request: RunTrial, on_progress: OnProgress) -> Evaluation:
        """Evaluate one candidate. Raises HarnessFault when the runner is gone, DeviceFault without device."""
        outcome = self._ask("POST", f"/v1/sessions/{session_id}/trials", request, on_progress)
        return _part(outcome.evaluation, "evaluation")

    def check(self, request: CheckCandidate, on_progress: OnProgress) -> CheckReport:
        """Check a candidate without its device. Raises TaskError for a task that cannot be one, HarnessFault."""
        return _part(self._ask("POST", "/v1/checks", request, on_progress).check, "check")

    def close_session(self, session_id: str) -> None:
        """Forget the session. Raises HarnessFault when the runner is gone."""
        for _line in self._lines("DELETE", f"/v1/sessions/{session_id}", None):
            pass

    def _ask(self, method: str, path: str, body: Record | None, on_progress: OnProgress) -> Outcome:
        for line in self._lines(method, path, body):
            if isinstance(line, Outcome):
                return line
            if isinstance(line, Failure):
                raise _FAULTS[line.kind](line.message)
            on_progress(line)
        raise HarnessFault(self._told(f"the runner's answer to {method} {path} ended without a result"))

    def _lines(self, method: str, path: str, body: Record | None) -> Iterator[Progress | Failure | Outcome]:
        connection = UnixConnection(self._socket_path, self._silence_s)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body.model_dump_json().encode() if body else None, headers)
            response = connection.getresponse()
            while line := response.readline():
                if line.strip():
                    yield _parsed(line)
        except TimeoutError as error:
            raise HarnessFault(self._told(f"the runner said nothing for {self._silence_s:g} s")) from error
        except (OSError, http.client.HTTPException) as error:
            raise HarnessFault(self._told(f"the runner is gone ({error or type(error).__name__})")) from error
        finally:
            connection.close()

    def _told(self, message: str) -> str:
        return f"{message}{self._postmortem()}"


def _ignore(_progress: Progress) -> None:
    return


def _part(part: T | None, name: str) -> T:
    if part is None:
        raise HarnessFault(f"the runner's answer holds no {name}: its version may differ from the agent's")
    return part


def _parsed(line: bytes) -> Progress | Failure | Outcome:
    try:
        return _LINE.validate_json(line)
    except ValidationError as error:
        shown = line[:200].decode("utf-8", "replace").strip()
        raise HarnessFault(f"the runner's answer is not of the protocol: {shown!r}") from error
