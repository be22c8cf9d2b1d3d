"""The port the campaign loop evaluates through; `agents/runner_client.py` speaks it to a real runner."""

from collections.abc import Callable
from typing import Protocol

from everforge.model.evaluation import Evaluation
from everforge.model.session import OpenSession, Progress, RunTrial, SessionOpened

OnProgress = Callable[[Progress], None]


class Runner(Protocol):
    """Evaluates candidates on one device."""

    def open_session(self, request: OpenSession, on_progress: OnProgress) -> SessionOpened:
        """Load a task and measure its baselines.

        Raises TaskError for a task that cannot be one, DeviceFault or HarnessFault for a broken machine.
        """

    def run_trial(self, session_id: str, request: RunTrial, on_progress: OnProgress) -> Evaluation:
        """Evaluate one candidate; the same trial id again gives the same evaluation.

        A bad candidate is a verdict. Raises HarnessFault when the runner itself is gone.
        """

    def close_session(self, session_id: str) -> None:
        """Forget the session and free what it holds."""
