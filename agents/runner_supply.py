"""Runners as the campaign loop needs them: started when asked for, replaced once gone, sessions reopened.

`agents/campaign.py` evaluates through a TaskSession; who starts campaigns owns the RunnerSupply, so that a
suite runs all its campaigns on one runner.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from everforge.errors import HarnessFault
from everforge.model.evaluation import Evaluation
from everforge.model.session import OpenSession, RunTrial, SessionOpened, TaskFacts
from everforge.search.runner_port import OnProgress, Runner


class ClosableRunner(Runner, Protocol):
    """A runner that holds a process or a connection."""

    def close(self) -> None:
        """End the process or the connection; closing twice is closing once."""

    def rest(self) -> None:
        """Nothing is asked of it for a while: others may have it."""

    def resume(self) -> bool:
        """It is needed again; whether it is still there."""


StartRunner = Callable[[], ClosableRunner]


class RunnerSupply:
    """At most one runner at a time, from a factory that may be called again when one dies.

    `start_elsewhere` starts one on another device of the same kind, where the machine may have one; its runner
    is asked for through `elsewhere`, and ends with this one's. A runner that nobody uses for `rest_after_s` is told
    so, and after `close_after_s` more it is closed; None is never.
    """

    def __init__(
        self,
        start: StartRunner,
        start_elsewhere: StartRunner | None = None,
        rest_after_s: float | None = None,
        close_after_s: float | None = None,
    ) -> None:
        self._start = start
        self._rest_after_s = rest_after_s
        self._close_after_s = close_after_s
        self._runner: ClosableRunner | None = None
        self._rests = False
        self._users = 0
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()
        self.elsewhere = RunnerSupply(start_elsewhere) if start_elsewhere is not None else None

    def runner(self) -> Runner:
        """The runner, started if there is none. Raises HarnessFault if it does not start."""
        if self._runner is None:
            self._runner, self._rests = self._start(), False
        return self._runner

    def holds(self, runner: Runner | None) -> bool:
        """Whether this is still the runner."""
        return self._runner is not None and self._runner is runner

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While the runner is needed; one that was taken away since it rested is discarded first."""
        self._begin()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._wait(self._rest_after_s, self._rest)

    def discard(self) -> None:
        """Give up the runner; the next one asked for is a new one."""
        with self._lock:
            runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def _begin(self) -> None:
        with self._lock:
            self._users += 1
            if self._timer is not None:
                self._timer.cancel()
            resting, self._rests = self._rests, False
            runner = self._runner
        if runner is not None and resting and not runner.resume():
            self.discard()

    def _wait(self, delay_s: float | None, then: Callable[[], None]) -> None:
        if delay_s is None or self._users or self._runner is None:
            return
        self._timer = threading.Timer(delay_s, then)
        self._timer.daemon = True
        self._timer.start()

    def _rest(self) -> None:
        """Called by the timer, as is `_close`: what it does at once the campaign's thread waits for in `_begin`."""
        with self._lock:
            if self._users or self._runner is None:
                return
            self._rests = True
            self._runner.rest()
            self._wait(self._close_after_s, self._close)

    def _close(self) -> None:
        with self._lock:
            if not self._users:
                self.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.elsewhere is not None:
            self.elsewhere.discard()
        if self._timer is not None:
            self._timer.cancel()
        self.discard()


class TaskSession:
    """One task open on whichever runner is alive; `elsewhere` if that is to use another device of its kind."""

    def __init__(
        self, supply: RunnerSupply, request: OpenSession, on_progress: OnProgress, elsewhere: bool = False
    ) -> None:
        self._supply = supply
        self._request = request
        self._on_progress = on_progress
        self.elsewhere = elsewhere
        self._opened: SessionOpened | None = None
        self._runner: Runner | None = None

    @property
    def is_open(self) -> bool:
        """Whether a runner held the task when it was last asked."""
        return self._opened is not None

    @property
    def was_taken(self) -> bool:
        """Whether the runner that held the task was taken away while it rested."""
        return self._opened is not None and not self._supply.holds(self._runner)

    def in_use(self) -> contextlib.AbstractContextManager[None]:
        """While the session's runner is needed."""
        return self._supply.in_use()

    def open(self) -> TaskFacts:
        """Open the task on a runner. Raises TaskError, DeviceFault or HarnessFault."""
        with self.in_use():
            self._runner = self._supply.runner()
            self._opened = self._runner.open_session(self._request, self._on_progress)
        return self._opened.facts

    def run_trial(self, request: RunTrial) -> Evaluation:
        """Evaluate one candidate in the open session.

        Raises HarnessFault when the runner is gone, or measured on another device than it was to.
        """
        if self._opened is None:
            raise HarnessFault("no session is open on the runner")
        evaluation = self._supply.runner().run_trial(self._opened.session_id, request, self._on_progress)
        index = evaluation.environment.device_index
        if (index > 0) is not self.elsewhere:
            wanted = "another device of the kind than the first" if self.elsewhere else "the first device of the kind"
            raise HarnessFault(f"the runner used device {index}, and was to use {wanted}")
        return evaluation

    def abandon(self) -> None:
        """Forget the session together with its runner, which is gone or must not be trusted."""
        self._opened = None
        self._supply.discard()

    def close(self) -> None:
        """Free what the runner holds for the task; a runner that is gone holds nothing."""
        opened, self._opened = self._opened, None
        if opened is None or not self._supply.holds(self._runner):
            return
        try:
            self._supply.runner().close_session(opened.session_id)
        except HarnessFault:
            self._supply.discard()
