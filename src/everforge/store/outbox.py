"""A store that never says no: writes go to a local journal first, then to the store behind it.

The campaign loop writes through this one, so that a tracking server that is away costs nothing but time:
writes wait, in order, for this process or the next, and each is replayed until it is accepted. The store
behind takes a repeated write as one, so a crash between its acceptance and our note of it doubles nothing.
"""

import logging
from pathlib import Path
from typing import Protocol

from everforge.clock import Clock
from everforge.errors import StoreRefused, StoreUnavailable
from everforge.model.campaign import CampaignRecord, CampaignSpec, Champion
from everforge.model.session import TaskFacts
from everforge.model.trial import Trial
from everforge.store.base import Store, Tracking
from everforge.store.fields import ordered
from everforge.store.journal import Journal, Write

# Waits between attempts while the store is away: 1 s, 2 s, 4 s, … up to a minute, about as long as one trial.
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0

_log = logging.getLogger(__name__)


class OutboxWatch(Protocol):
    """Told how the outbox fares; metrics are one."""

    def outbox_waits(self, writes: int) -> None:
        """So many writes wait now."""

    def store_write_failed(self) -> None:
        """The store behind did not take a write that was tried."""


class OutboxStore:
    """Wraps a store with a durable journal. Not safe between threads; one process per directory.

    `tracking_uri` is what `open_campaign` can say of the place while the store behind is away.
    Raises UsageError if the directory cannot be used or another process uses it.
    """

    def __init__(
        self,
        inner: Store,
        directory: Path,
        clock: Clock,
        tracking_uri: str | None = None,
        watch: OutboxWatch | None = None,
    ) -> None:
        self._inner = inner
        self._watch = watch
        self._journal = Journal(directory)
        self._clock = clock
        self._tracking: dict[str, Tracking] = {}
        self._unopened = Tracking(tracking_uri=tracking_uri)
        self._registered: dict[str, Champion] = {}
        self._delay_s = FIRST_DELAY_S
        self._next_attempt_s: float | None = None
        self._tell_depth()

    @property
    def behind(self) -> Store:
        """The store that writes are handed on to; asking it says whether it is there."""
        return self._inner

    def open_campaign(self, spec: CampaignSpec) -> Tracking:
        """Make the campaign known; without ids when the store behind is away."""
        self._write(Write(campaign_id=spec.campaign_id, spec=spec))
        return self._tracking.get(spec.campaign_id, self._unopened)

    def record_facts(self, campaign_id: str, facts: TaskFacts) -> None:
        """Keep the facts."""
        self._write(Write(campaign_id=campaign_id, facts=facts))

    def record_trial(self, trial: Trial) -> None:
        """Keep one finished trial."""
        self._write(Write(campaign_id=trial.campaign_id, trial=trial))

    def trials(self, campaign_id: str) -> tuple[Trial, ...]:
        """Every trial recorded: those behind, or local copies while it is away, and the pending ones."""
        found = {trial.trial_id: trial for trial in self._accepted_trials(campaign_id)}
        for _, write in self._journal.pending():
            if write.campaign_id == campaign_id and write.trial is not None:
                found.setdefault(write.trial.trial_id, write.trial)
        return ordered(found.values())

    def register_champion(self, campaign_id: str, champion: Champion, trial: Trial) -> Champion:
        """Publish the champion, now or when the store is back; until then it is returned unchanged."""
        self.record_trial(trial)
        self._registered.pop(champion.candidate_digest, None)
        self._write(Write(campaign_id=campaign_id, champion=champion, trial=trial))
        return self._registered.get(champion.candidate_digest, champion)

    def record_campaign(self, record: CampaignRecord) -> None:
        """Keep where the campaign stands."""
        self._write(Write(campaign_id=record.campaign_id, record=record))

    def campaign(self, campaign_id: str) -> CampaignRecord | None:
        """The last record of a campaign, None if none was kept."""
        pending = [write.record for _, write in self._journal.pending() if write.campaign_id == campaign_id]
        latest = [record for record in pending if record is not None]
        return latest[-1] if latest else self._accepted_record(campaign_id)

    def flush(self) -> int:
        """Try now to write what waits, whatever the delay; returns how many writes still wait."""
        self._replay()
        self._tell_depth()
        return self._journal.waiting()

    def _write(self, write: Write) -> None:
        self._journal.append(write)
        if self._is_due():
            self._replay()
        self._tell_depth()

    def _tell_depth(self) -> None:
        if self._watch is not None:
            self._watch.outbox_waits(self._journal.waiting())

    def _tell_failure(self) -> None:
        if self._watch is not None:
            self._watch.store_write_failed()

    def _replay(self) -> None:
        """Hand on the pending writes in order until the store is away; a refusal holds up one campaign."""
        refused: set[str] = set()
        for path, write in self._journal.pending():
            if write.campaign_id in refused:
                continue
            try:
                self._deliver(write)
            except StoreRefused as refusal:
                _log.warning("campaign %s waits in the outbox: %s", write.campaign_id, refusal)
                self._tell_failure()
                refused.add(write.campaign_id)
            except StoreUnavailable as absence:
                self._postpone(absence)
                self._tell_failure()
                return
            else:
                self._journal.settle(path, write)
        self._resume()

    def _deliver(self, write: Write) -> None:
        if write.champion is not None and write.trial is not None:
            registered = self._inner.register_champion(write.campaign_id, write.champion, write.trial)
            self._registered[registered.candidate_digest] = registered
        elif write.trial is not None:
            self._inner.record_trial(write.trial)
        elif write.spec is not None:
            self._tracking[write.campaign_id] = self._inner.open_campaign(write.spec)
        elif write.facts is not None:
            self._inner.record_facts(write.campaign_id, write.facts)
        elif write.record is not None:
            self._inner.record_campaign(write.record)

    def _accepted_trials(self, campaign_id: str) -> tuple[Trial, ...]:
        if self._is_due():
            try:
                trials = self._inner.trials(campaign_id)
            except StoreUnavailable as absence:
                self._postpone(absence)
            else:
                for trial in trials:
                    self._journal.keep(Write(campaign_id=campaign_id, trial=trial))
                return trials
        return tuple(write.trial for write in self._journal.kept(campaign_id) if write.trial is not None)

    def _accepted_record(self, campaign_id: str) -> CampaignRecord | None:
        if self._is_due():
            try:
                record = self._inner.campaign(campaign_id)
            except StoreUnavailable as absence:
                self._postpone(absence)
            else:
                if record is not None:
                    self._journal.keep(Write(campaign_id=campaign_id, record=record))
                return record
        kept = [write.record for write in self._journal.kept(campaign_id) if write.record is not None]
        return kept[0] if kept else None

    def _is_due(self) -> bool:
        """Whether the store may be asked: it answered last time, or the delay since its failure is over."""
        return self._next_attempt_s is None or self._clock.monotonic_s() >= self._next_attempt_s

    def _postpone(self, absence: StoreUnavailable) -> None:
        if self._next_attempt_s is None:
            _log.warning("writes wait in the outbox: %s", absence)
        self._next_attempt_s = self._clock.monotonic_s() + self._delay_s
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)

    def _resume(self) -> None:
        if self._next_attempt_s is not None:
            _log.info("the store is back")
        self._next_attempt_s = None
        self._delay_s = FIRST_DELAY_S
