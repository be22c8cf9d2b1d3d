"""Runners as the campaign loop needs them: started when asked for, replaced once gone, sessions reopened.

`agents/campaign.py` evaluates through a TaskSession; who starts campaigns owns the RunnerSupply, so that a
suite runs all its campaigns on one runner.
"""

from collections.abc import Callable
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


StartRunner = Callable[[], ClosableRunner]


class RunnerSupply:
    """At most one runner at a time, from a factory that may be called again when one dies.

    `start_elsewhere` starts one on another device of the same kind, where the machine may have one; its runner
    is asked for through `elsewhere`, and ends with this one's.
    """

    def __init__(self, start: StartRunner, start_elsewhere: StartRunner | None = None) -> None:
        self._start = start
        self._runner: ClosableRunner | None = None
        self.elsewhere = RunnerSupply(start_elsewhere) if start_elsewhere is not None else None

    def runner(self) -> Runner:
        """The runner, started if there is none. Raises HarnessFault if it does not start."""
        if self._runner is None:
            self._runner = self._start()
        return self._runner

    def discard(self) -> None:
        """Give up the runner; the next one asked for is a new one."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.elsewhere is not None:
            self.elsewhere.discard()
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

    @property
    def is_open(self) -> bool:
        """Whether a runner holds the task now."""
        return self._opened is not None

    def open(self) -> TaskFacts:
        """Open the task on a runner. Raises TaskError, DeviceFault or HarnessFault."""
        self._opened = self._supply.runner().open_session(self._request, self._on_progress)
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
        if opened is None:
            return
        try:
            self._supply.runner().close_session(opened.session_id)
        except HarnessFault:
            self._supply.discard()
