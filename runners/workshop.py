"""What a runner does for its client, whatever the connection: environment, sessions, trials, checks.

Holds the warm process, the device's peaks and the open sessions. `server.py` speaks HTTP for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from everforge.clock import Clock
from everforge.errors import DeviceFault, HarnessFault, TaskError
from everforge.model.base import Record, digest_of
from everforge.model.check import CheckCandidate
from everforge.model.device import DeviceKind, Environment, Peaks
from everforge.model.precision import Precision
from everforge.model.session import Failure, OpenSession, Outcome, Progress, RunTrial, SessionOpened
from everforge.runners.devices import device_of
from everforge.runners.environment import environment_of
from everforge.runners.errands import Abandoned, Bench, Busy, Errand
from everforge.runners.facts.roofline import measured_peaks
from everforge.runners.gate.checks import Check
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.sessions import Session, session_id_of

# A session whose client asked nothing for this long gives way to another one: a model thinks for about a minute.
LEASE_S = 60.0

Say = Callable[[Progress], None]


@dataclass
class OpenedSession:
    """A session that is open, what its client was told, and when it was last used."""

    session: Session
    request_digest: str
    told: SessionOpened
    last_used_s: float


class Workshop:
    """Serves one client at a time. With `exclusive`, one session is open at a time and requests do not queue."""

    def __init__(
        self,
        root: Path,
        clock: Clock,
        log_fault: Callable[[BaseException], None],
        device_index: int = 0,
        exclusive: bool = False,
    ) -> None:
        self.bench = Bench(clock, queues=not exclusive)
        self._nursery = Nursery(root)
        self._clock = clock
        self._log_fault = log_fault
        self._device_index = device_index
        self._exclusive = exclusive
        self._peaks: dict[tuple[DeviceKind, Precision], Peaks] = {}
        self._sessions: dict[str, OpenedSession] = {}

    @property
    def is_sound(self) -> bool:
        """Whether the warm process lives."""
        return self._nursery.is_alive

    def environment(self, kind: DeviceKind) -> Errand:
        """Say what the device and its machine are."""
        return self._take(None, lambda _: Outcome(environment=self._environment(kind)))

    def open(self, request: OpenSession) -> Errand:
        """Open a session; one that is open on the same task and settings is found again. Raises Busy.

        Found again by an agent that was killed and resumes: its trials are remembered, and its baselines cost nothing.
        """
        digest = digest_of(request.model_dump(mode="json"))
        for opened in list(self._sessions.values()):
            if opened.request_digest == digest:
                opened.last_used_s = self._clock.monotonic_s()
                facts = opened.told.facts.model_copy(update={"device_seconds": 0.0})
                return Errand.answered(Outcome(session=opened.told.model_copy(update={"facts": facts})))
        self._refuse_while_leased()
        return self._take(digest, lambda say: Outcome(session=self._open(request, digest, say)))

    def check(self, request: CheckCandidate) -> Errand:
        """Check a candidate without its device. Raises Busy."""

        def work(say: Say) -> Outcome:
            check = Check(request, self._nursery, lambda stage, detail: say(Progress(stage=stage, detail=detail)))
            return Outcome(check=check.run())

        return self._take(digest_of(request.model_dump(mode="json")), work)

    def trial(self, session_id: str, request: RunTrial) -> Errand | None:
        """Evaluate a candidate, or follow the trial of that id that is under way; None without the session.

        A trial that has ended is answered from the session's memory. Raises Busy.
        """
        opened = self._sessions.get(session_id)
        if opened is None:
            return None

        def work(say: Say) -> Outcome:
            def news(stage: str, detail: str) -> None:
                say(Progress(stage=stage, detail=detail))

            try:
                return Outcome(evaluation=opened.session.run(request, news))
            finally:
                opened.last_used_s = self._clock.monotonic_s()

        return self._take(f"{session_id}/{request.trial_id}", work)

    def close_session(self, session_id: str) -> Errand:
        """Close a session, if it is open; a trial of it that is under way is given up. Raises Busy."""
        self.bench.abandon(lambda key: key.startswith(f"{session_id}/"))

        def work(_: Say) -> Outcome:
            self._close(session_id)
            return Outcome()

        return self._take(None, work, may_wait=True)

    def close(self) -> None:
        """Close everything; work that is under way fails for want of its workers, and is waited for."""
        self.give_up()
        self.bench.close()
        for session_id in list(self._sessions):
            self._close(session_id)

    def give_up(self) -> None:
        """End the workers at once, and with them what is under way; not waited for."""
        self.bench.abandon(lambda _: True)
        self._nursery.close()

    def _open(self, request: OpenSession, digest: str, say: Say) -> SessionOpened:
        for session_id in list(self._sessions) if self._exclusive else ():
            self._close(session_id)
        device = device_of(request.device)
        say(Progress(stage="environment"))
        environment = self._environment(request.device)
        ceiling = request.device, request.task.precision
        if ceiling not in self._peaks:
            say(Progress(stage="peaks"))
            self._peaks[ceiling] = measured_peaks(self._nursery, device, request.task.precision)
        session = Session(request, device, environment, self._peaks[ceiling], self._nursery)
        try:
            facts = session.open(lambda stage, detail: say(Progress(stage=stage, detail=detail)))
        except BaseException:
            session.close()
            raise
        told = SessionOpened(session_id=session_id_of(request), facts=facts)
        self._sessions[told.session_id] = OpenedSession(session, digest, told, self._clock.monotonic_s())
        return told

    def _close(self, session_id: str) -> None:
        opened = self._sessions.pop(session_id, None)
        if opened is not None:
            opened.session.close()

    def _environment(self, kind: DeviceKind) -> Environment:
        return environment_of(device_of(kind), self._nursery.layers, self._device_index)

    def _refuse_while_leased(self) -> None:
        if not self._exclusive:
            return
        now_s = self._clock.monotonic_s()
        for opened in list(self._sessions.values()):
            if (left_s := opened.last_used_s + LEASE_S - now_s) > 0:
                raise Busy("the runner has a session on another task", left_s)

    def _take(self, key: str | None, work: Callable[[Say], Outcome], may_wait: bool = False) -> Errand:
        return self.bench.take(key, lambda errand: self._last_line(errand, work), may_wait)

    def _last_line(self, errand: Errand, work: Callable[[Say], Outcome]) -> Record:
        try:
            return work(errand.say)
        except TaskError as error:
            return Failure(kind="usage", message=str(error))
        except (DeviceFault, torch.OutOfMemoryError, torch.AcceleratorError) as error:
            return Failure(kind="device", message=str(error))
        except Abandoned:
            raise
        except HarnessFault as error:
            return Failure(kind="harness", message=str(error))
        except Exception as error:  # noqa: BLE001 - the border of the process: the client must learn that it broke
            self._log_fault(error)
            return Failure(kind="harness", message=f"{type(error).__name__}: {error}")
