"""A campaign as a pod runs it: a claimed runner, the cluster's tracking server, last words for the operator.

Called by `__main__.py`. The pod may be killed at any moment: what is recorded is in the store, or in the outbox on the
pod's volume, and the next pod of the campaign goes on from there.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from everforge.agents.generators import GeneratorFactory, build_generators
from everforge.agents.metering import Meter
from everforge.agents.reporting import Reports
from everforge.agents.runner_supply import RunnerSupply
from everforge.agents.stop_signal import StopSignal
from everforge.agents.workstation import Workstation
from everforge.errors import DeviceFault, EverforgeError, MachineFault, StoreUnavailable, UsageError
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState
from everforge.model.verdict import ExitCode, Fault
from everforge.search.events import (
    CampaignStarted,
    Event,
    Noted,
    TaskAccepted,
    TrialFinished,
    all_of,
)
from everforge.store.offline import OFFLINE
from everforge.store.outbox import OutboxStore

# What the kubelet takes of a container's last words.
LAST_WORDS_BYTES = 4096
_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 15.0

T = TypeVar("T")
Sleep = Callable[[float], None]


@dataclass(frozen=True)
class Pod:
    """Where an agent's pod keeps things, and how long it waits for the tracking server before it ends."""

    state_dir: Path
    tracking_uri: str | None = None
    api_key_file: Path | None = None
    last_words: Path | None = None
    store_s: float = 600.0
    generators_of: GeneratorFactory = build_generators
    sleep: Sleep = time.sleep

    def run(self, spec: CampaignSpec, supply: RunnerSupply, reports: Reports, meter: Meter | None = None) -> int:
        """One sitting of the campaign; the exit code of the process, whose reason is in the last words."""
        stop = StopSignal()
        try:
            with stop.installed(), supply:
                return self._run(spec, supply, reports, stop, meter)
        except KeyboardInterrupt:
            return self.ended(signal_code(stop), "interrupted; the next pod resumes from the trials that are kept")
        except UsageError as error:
            return self.ended(ExitCode.USAGE, str(error))
        except MachineFault as fault:
            blamed = ExitCode.DEVICE_FAULT if isinstance(fault, DeviceFault) else ExitCode.HARNESS_FAULT
            return self.ended(blamed, str(fault))
        except StoreUnavailable as error:
            return self.ended(ExitCode.STORE_UNREACHABLE, str(error))
        except EverforgeError as error:
            return self.ended(ExitCode.HARNESS_FAULT, str(error))

    def _run(
        self, spec: CampaignSpec, supply: RunnerSupply, reports: Reports, stop: StopSignal, meter: Meter | None
    ) -> int:
        station = self._station(meter)
        with stop.interruptible():
            self._recall(spec, station.store, reports)
        record = station.run_campaign(spec, supply, listener=all_of(said, reports.happened), stop=stop)
        # Nothing more will be asked of the device: it is somebody else's while the last writes wait.
        supply.discard()
        if record.state is CampaignState.INTERRUPTED:
            return self.ended(signal_code(stop), f"{record.stop_reason}: {record.detail}")
        with stop.interruptible():
            record = self._delivered(record, station.store, reports)
        if record.state is CampaignState.FAILED:
            blamed = ExitCode.DEVICE_FAULT if record.fault is Fault.DEVICE else ExitCode.HARNESS_FAULT
            return self.ended(blamed, f"{record.stop_reason}: {record.detail}")
        return self.ended(0, last_words_of(record))

    def _station(self, meter: Meter | None) -> Workstation:
        return Workstation(
            self.state_dir, self.tracking_uri, self.api_key_file, self.generators_of, meter=meter, resumes=True
        )

    def _recall(self, spec: CampaignSpec, store: OutboxStore, reports: Reports) -> None:
        """Make sure of every trial that earlier pods recorded: begun without them, a campaign would try them again.

        Raises StoreUnavailable after `store_s`.
        """
        here = self.tracking_uri == OFFLINE
        recorded = () if here else self._patiently(lambda: store.behind.trials(spec.campaign_id), reports)
        trials = store.trials(spec.campaign_id)
        known = {trial.trial_id for trial in trials}
        if missing := [trial for trial in recorded if trial.trial_id not in known]:
            raise StoreUnavailable(f"{len(missing)} recorded trials could not be read again")
        # Told now: a runner may be waited for for hours, and the pod before may have been killed with news of its own.
        reports.recalled(trials, store.campaign(spec.campaign_id))

    def _delivered(self, record: CampaignRecord, store: OutboxStore, reports: Reports) -> CampaignRecord:
        """The record once all that waited is written, its champion with its place in the registry.

        Raises StoreUnavailable after `store_s`; what waits stays in the outbox.
        """
        if self.tracking_uri == OFFLINE:
            return record

        def flush() -> None:
            if waiting := store.flush():
                raise StoreUnavailable(f"{waiting} writes wait in {self.state_dir} for the tracking server")

        self._patiently(flush, reports)
        champion = record.champion
        if champion is None or champion.model_uri is not None:
            return record
        trial = next(trial for trial in store.trials(record.campaign_id) if trial.trial_id == champion.trial_id)
        record = record.model_copy(update={"champion": store.register_champion(record.campaign_id, champion, trial)})
        store.record_campaign(record)
        self._patiently(flush, reports)
        return record

    def _patiently(self, ask: Callable[[], T], reports: Reports) -> T:
        """The answer of a tracking server that may be away; the first reason why it is, is reported meanwhile."""
        deadline_s = time.monotonic() + self.store_s
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                answer = ask()
            except StoreUnavailable as absence:
                if time.monotonic() + delay_s > deadline_s:
                    raise
                say(f"the tracking server is away: {absence}")
                if delay_s == _FIRST_DELAY_S:
                    reports.waits(str(absence))
            else:
                reports.waits(None)
                return answer
            self.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def ended(self, code: int, words: str) -> int:
        """Leave the last words, and return the exit code they go with."""
        say(words)
        if self.last_words is not None:
            with contextlib.suppress(OSError):  # not everywhere is there a kubelet to read them
                self.last_words.write_bytes(words.encode()[:LAST_WORDS_BYTES])
        return int(code)


def signal_code(stop: StopSignal) -> int:
    """What shells say of a process that a signal ended."""
    return ExitCode.INTERRUPTED if stop.number is None else 128 + stop.number


def last_words_of(record: CampaignRecord) -> str:
    """The record as the operator reads it from the pod's status: without what grows, and fit for any reader."""
    short: dict[str, Any] = {
        "baselines_us": {},
        "by_generator": (),
        "notes": (),
        "tracking_uri": None,
        "detail": record.detail[:512],
    }
    return record.model_copy(update=short).model_dump_json()


def say(text: str) -> None:
    """Write a line to the pod's log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def said(event: Event) -> None:
    """Write what happens to the pod's log, a line each: never a prompt or a candidate."""
    match event:
        case CampaignStarted(spec=spec, resumed_trials=trials):
            say(f"campaign {spec.campaign_id} ({spec.name}) goes on after {trials} trials")
        case TaskAccepted(facts=facts):
            say(f"the runner on {facts.environment.host} accepted the task: {facts.environment.device_name}")
        case TrialFinished(trial=trial, reused=reused):
            speedup = trial.evaluation.speedup
            shown = "" if speedup is None else f" {speedup.value:.2f}x"
            again = ", known" if reused else ""
            say(f"trial {trial.number} {trial.purpose}: {trial.evaluation.verdict}{shown}{again}")
        case Noted(text=text):
            say(text)
