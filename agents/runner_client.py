"""A runner at the other end of a Unix socket or a TCP port: HTTP with one JSON record a line, as model/session.py says.

Implements `search.runner_port.Runner` for the campaign loop; `everforge evaluate` uses it too. Every request may be
asked twice: over TCP, one whose connection was cut is asked again, and follows the work that went on meanwhile.
"""

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

# Above the longest stretch of a trial without news: its 120 s of wall time, plus one slow `torch.compile`.
SILENCE_S = 600.0

T = TypeVar("T")
Address = Path | tuple[str, int]
_LINE: TypeAdapter[Progress | Failure | Outcome] = TypeAdapter(Progress | Failure | Outcome)
_FAULTS = {"usage": TaskError, "device": DeviceFault, "harness": HarnessFault}


@dataclass(frozen=True)
class Patience:
    """How long a client waits for what; the defaults are those of a socket, whose runner is there or is not."""

    news_s: float = SILENCE_S
    """Without a new line the runner is taken for wedged."""
    connect_s: float = SILENCE_S
    beat_s: float = SILENCE_S
    """Without even a blank line the connection is taken for cut; a runner sends one each 5 s."""
    lost_s: float = 0.0
    """Without a byte for so long, over all attempts to connect, the runner is taken for lost."""
    first_delay_s: float = 0.2
    longest_delay_s: float = 5.0


# A node that restarts its network is back within a minute; a runner's pod that is gone never is.
OVER_TCP = Patience(connect_s=5.0, beat_s=20.0, lost_s=60.0)


class ConnectionCut(HarnessFault):
    """The runner cannot be reached, or its answer ended early: the same request may be asked again."""


class RunnerBusy(HarnessFault):
    """The runner is there, and takes the request later."""

    def __init__(self, message: str, retry_s: float) -> None:
        super().__init__(message)
        self.retry_s = retry_s


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


def _always() -> bool:
    return True


class RunnerClient:
    """Asks a runner; `postmortem` says what became of its process when it is gone.

    `is_ours` is asked between attempts to reach it again: False ends them.
    """

    def __init__(
        self,
        address: Address,
        token: str,
        postmortem: Callable[[], str] = _no_postmortem,
        patience: Patience | None = None,
        is_ours: Callable[[], bool] = _always,
    ) -> None:
        self._address = address
        self._token = token
        self._postmortem = postmortem
        self._patience = patience or (Patience() if isinstance(address, Path) else OVER_TCP)
        self._is_ours = is_ours
        self._heard_s = 0.0

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
        try:
            for _line in self._lines("DELETE", f"/v1/sessions/{session_id}", None):
                pass
        except ConnectionCut as cut:
            raise HarnessFault(self._told(str(cut))) from cut

    def rest(self) -> None:
        """A runner of one's own may idle."""

    def resume(self) -> bool:
        """A runner of one's own is never taken away."""
        return True

    def _ask(self, method: str, path: str, body: Record | None, on_progress: OnProgress) -> Outcome:
        """Ask until there is an outcome, over as many connections as that takes."""
        news = _News(on_progress)
        delay_s = self._patience.first_delay_s
        self._heard_s = time.monotonic()
        while True:
            asked_s = time.monotonic()
            try:
                return self._ask_once(method, path, body, news)
            except RunnerBusy as busy:
                if news.age_s() >= self._patience.news_s:
                    raise HarnessFault(self._told(str(busy))) from busy
                time.sleep(busy.retry_s)
            except ConnectionCut as cut:
                silent_s = time.monotonic() - self._heard_s
                if silent_s >= self._patience.lost_s or not self._is_ours():
                    raise HarnessFault(self._told(str(cut))) from cut
                delay_s = self._patience.first_delay_s if self._heard_s > asked_s else 2 * delay_s
                time.sleep(min(delay_s, self._patience.longest_delay_s))

    def _ask_once(self, method: str, path: str, body: Record | None, news: "_News") -> Outcome:
        for line in self._lines(method, path, body):
            if isinstance(line, Outcome):
                return line
            if isinstance(line, Failure):
                raise _FAULTS[line.kind](line.message)
            news.take(line)
            if news.age_s() >= self._patience.news_s:
                raise HarnessFault(self._told(f"the runner said nothing new for {self._patience.news_s:g} s"))
        raise ConnectionCut(f"the runner's answer to {method} {path} ended without a result")

    def _lines(self, method: str, path: str, body: Record | None) -> Iterator[Progress | Failure | Outcome | None]:
        """The lines of one answer, None for a blank one."""
        connection = self._connection()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.connect()
            connection.sock.settimeout(self._patience.beat_s)
            connection.request(method, path, body.model_dump_json().encode() if body else None, headers)
            response = connection.getresponse()
            self._refuse_busy(response)
            while line := response.readline():
                self._heard_s = time.monotonic()
                yield _parsed(line) if line.strip() else None
        except TimeoutError as error:
            raise ConnectionCut(f"the runner said nothing for {self._patience.beat_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionCut(f"the runner is gone ({error or type(error).__name__})") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if isinstance(self._address, Path):
            return UnixConnection(self._address, self._patience.connect_s)
        return http.client.HTTPConnection(*self._address, timeout=self._patience.connect_s)

    def _refuse_busy(self, response: http.client.HTTPResponse) -> None:
        """Raise RunnerBusy for an answer that asks to come again."""
        later = response.getheader("Retry-After", "")
        if response.status not in (409, 503) or not later.isdigit():
            return
        self._heard_s = time.monotonic()
        line = _parsed(response.readline())
        said = line.message if isinstance(line, Failure) else f"status {response.status}"
        raise RunnerBusy(said, float(later))

    def _told(self, message: str) -> str:
        return f"{message}{self._postmortem()}"


class _News:
    """Passes on what is new, and knows when the last of it came."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._last: Progress | None = None
        self._last_s = time.monotonic()

    def take(self, line: Progress | None) -> None:
        """Pass a line on, unless it is blank or was heard over an earlier connection."""
        if line is not None and line != self._last:
            self._last, self._last_s = line, time.monotonic()
            self._on_progress(line)

    def age_s(self) -> float:
        """Seconds since there was anything new."""
        return time.monotonic() - self._last_s


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
