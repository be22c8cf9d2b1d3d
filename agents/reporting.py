"""Tells the cluster how far a campaign has come, while it runs: the counts that `kubectl get kopt` shows.

`agents/__main__.py` gives the listener to the campaign and sends reports through the RunnerClaim. A report may be lost:
the next one says all of it again, and the agent's last words say it for good.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from everforge.model.agent_report import AgentReport
from everforge.model.kopt_status import SpendStatus, TrialCounts
from everforge.search.events import CampaignStarted, Event, Listener, TaskAccepted, TrialFinished

# A report makes three writes in the cluster, the operator's two statuses included; nobody looks more often.
PAUSE_S = 10.0

Send = Callable[[AgentReport], None]


def report_after(report: AgentReport, event: Event) -> AgentReport:
    """The report once an event has happened."""
    match event:
        case CampaignStarted():
            change = {
                "trials": TrialCounts.of(event.verdicts),
                "spend": SpendStatus.of(event.spent),
                "run_id": event.run_id,
                "experiment_id": event.experiment_id,
            }
            return report.model_copy(update=change)
        case TrialFinished():
            counted = {"trials": TrialCounts.of(event.verdicts), "spend": SpendStatus.of(event.spent)}
            return report.model_copy(update=counted)
        case TaskAccepted(facts=facts):
            return report.measured_in(facts.environment)
        case _:
            return report


@contextmanager
def reporting(send: Send, pause_s: float = PAUSE_S) -> Iterator[Listener]:
    """A listener whose campaign is reported by `send`, from a thread of its own: a campaign waits for no API server."""
    reports = _Reports(send, pause_s)
    thread = threading.Thread(target=reports.send_all, name="reports", daemon=True)
    thread.start()
    try:
        yield reports.happened
    finally:
        reports.end()


class _Reports:
    """The newest report, and whether it was sent."""

    def __init__(self, send: Send, pause_s: float) -> None:
        self._send, self._pause_s = send, pause_s
        self._report = AgentReport()
        self._changed = threading.Condition()
        self._is_due = False
        self._ended = threading.Event()

    def happened(self, event: Event) -> None:
        """Take an event up."""
        report = report_after(self._report, event)
        if report == self._report:
            return
        with self._changed:
            self._report, self._is_due = report, True
            self._changed.notify()

    def send_all(self) -> None:
        """Send what is new, the newest only, until the end."""
        while (report := self._next()) is not None:
            self._send(report)
            self._ended.wait(self._pause_s)

    def end(self) -> None:
        """Send no more: what is left to say is said by the pod's last words."""
        self._ended.set()
        with self._changed:
            self._changed.notify()

    def _next(self) -> AgentReport | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_due or self._ended.is_set())
            self._is_due = False
            return None if self._ended.is_set() else self._report
