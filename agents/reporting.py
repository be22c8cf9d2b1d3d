"""Tells the cluster how far a campaign has come, while it runs: what `kubectl get kopt` shows of it.

`agents/__main__.py` sends reports through the RunnerClaim, `agents/pod.py` says what happens. A report may be lost: the
next one says all of it again. One that is made when the pod ends is sent, too, for a pod that is told to end has no
record for its last words.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from everforge.model.agent_report import MAX_TROUBLE, AgentReport
from everforge.model.budget import Spend
from everforge.model.campaign import CampaignRecord
from everforge.model.kopt_status import ChallengerStatus, ChampionStatus, SpendStatus, TrialCounts
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.events import CampaignStarted, Event, TaskAccepted, TrialFinished
from everforge.search.history import History
from everforge.search.summary import champion_of, total_spend

# A report makes three writes in the cluster, the operator's two statuses included; nobody looks more often.
PAUSE_S = 10.0
# How long a pod's end waits for its last report. The kubelet gives it 60 s, and the API server may be away.
LAST_S = 15.0

Send = Callable[[AgentReport], None]


@dataclass(frozen=True)
class Account:
    """A campaign as its agent knows it: the report, and the trials of all its agents that the report follows from."""

    report: AgentReport = field(default_factory=AgentReport)
    trials: tuple[Trial, ...] = ()

    def recalled(self, trials: tuple[Trial, ...], record: CampaignRecord | None) -> "Account":
        """With what earlier agents recorded, before there is a runner to go on with."""
        overhead = record.overhead if record is not None else Spend()
        counted = {
            "trials": TrialCounts.of(History(trials).by_verdict()),
            "spend": SpendStatus.of(total_spend(trials, overhead)),
            "run_id": record.run_id if record is not None else None,
            "experiment_id": record.experiment_id if record is not None else None,
        }
        return Account(self.report.model_copy(update={**counted, **_kernels_of(trials)}), trials)

    def after(self, event: Event) -> "Account":
        """The account once an event has happened."""
        match event:
            case CampaignStarted(verdicts=verdicts, resumed_trials=resumed) if verdicts or not resumed:
                # One that had ended before says nothing of its trials, and all of it was recalled.
                return self._counting(event, {"run_id": event.run_id, "experiment_id": event.experiment_id})
            case TrialFinished(trial=trial):
                after = replace(self, trials=(*self.trials, trial))
                # Which kernels are the best changes with these alone, and takes a look at every trial.
                news = trial.purpose is Purpose.CHAMPION or trial.evaluation.verdict is Verdict.FASTER
                return after._counting(event, _kernels_of(after.trials) if news else {})
            case TaskAccepted(facts=facts):
                return replace(self, report=self.report.measured_in(facts.environment))
            case _:
                return self

    def waiting(self, trouble: str | None) -> "Account":
        """The account while the tracking server is waited for, and why; None once it is there."""
        short = trouble[:MAX_TROUBLE] if trouble is not None else None
        return replace(self, report=self.report.model_copy(update={"tracking_trouble": short}))

    def _counting(self, event: CampaignStarted | TrialFinished, more: Mapping[str, object]) -> "Account":
        counted = {"trials": TrialCounts.of(event.verdicts), "spend": SpendStatus.of(event.spent)}
        return replace(self, report=self.report.model_copy(update={**counted, **more}))


def _kernels_of(trials: tuple[Trial, ...]) -> dict[str, object]:
    """Champion and challenger. A pod has one device, and so nothing is confirmed on a second one."""
    history = History(trials)
    champion, challenger = champion_of(history), history.challenger()
    return {
        "champion": ChampionStatus.of(champion) if champion is not None else None,
        "challenger": ChallengerStatus.of(challenger) if challenger is not None else None,
    }


class Reports:
    """Keeps the account of a campaign, and whether it was sent. Thread-safe for one campaign and one sender."""

    def __init__(self, send: Send, pause_s: float = PAUSE_S) -> None:
        self._send, self._pause_s = send, pause_s
        self._account = Account()
        self._changed = threading.Condition()
        self._is_due = False
        self._ended = threading.Event()

    def recalled(self, trials: tuple[Trial, ...], record: CampaignRecord | None) -> None:
        """Take up what earlier agents of the campaign recorded."""
        self._keep(self._account.recalled(trials, record))

    def happened(self, event: Event) -> None:
        """Take an event up; a campaign's listener."""
        self._keep(self._account.after(event))

    def waits(self, trouble: str | None) -> None:
        """Say that the tracking server is waited for, or, with None, no longer."""
        self._keep(self._account.waiting(trouble))

    def send_all(self) -> None:
        """Send what is new, the newest only, until the end."""
        while (report := self._next()) is not None:
            self._send(report)
            self._ended.wait(self._pause_s)

    def end(self) -> None:
        """Send what is due, and no more."""
        self._ended.set()
        with self._changed:
            self._changed.notify()

    def _keep(self, account: Account) -> None:
        with self._changed:
            self._is_due |= account.report != self._account.report
            self._account = account
            self._changed.notify()

    def _next(self) -> AgentReport | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_due or self._ended.is_set())
            is_due, self._is_due = self._is_due, False
            return self._account.report if is_due else None


@contextmanager
def reporting(send: Send, pause_s: float = PAUSE_S) -> Iterator[Reports]:
    """Reports that `send` takes away, in a thread of their own: a campaign waits for no API server."""
    reports = Reports(send, pause_s)
    thread = threading.Thread(target=reports.send_all, name="reports", daemon=True)
    thread.start()
    try:
        yield reports
    finally:
        reports.end()
        thread.join(LAST_S)
