"""The outbox under any interleaving of writes, outages, restarts and crashes."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from everforge.errors import StoreUnavailable
from everforge.store.memory import MemoryStore
from everforge.store.outbox import OutboxStore
from everforge.testing import samples
from everforge.testing.fakes import FakeClock

SPEC = samples.campaign_spec()
TRIALS = tuple(samples.trial(number) for number in range(6))
RECORDS = tuple(samples.campaign_record(trials=TRIALS[:count]) for count in range(len(TRIALS)))


class Killed(BaseException):
    """Stands for kill -9: no handler of the code under test may catch it."""


class TroubledStore(MemoryStore):
    """Goes away, loses its answer on the way back, or sees its client die right after it accepted a write."""

    def __init__(self):
        super().__init__()
        self.trouble = None

    def open_campaign(self, spec):
        return self._troubled(super().open_campaign, spec)

    def record_trial(self, trial):
        return self._troubled(super().record_trial, trial)

    def record_campaign(self, record):
        return self._troubled(super().record_campaign, record)

    def trials(self, campaign_id):
        if self.trouble == "away":
            raise StoreUnavailable("away")
        return super().trials(campaign_id)

    def _troubled(self, write, value):
        if self.trouble == "away":
            raise StoreUnavailable("away")
        result = write(value)
        if self.trouble == "answer lost":
            raise StoreUnavailable("the answer was lost")
        if self.trouble == "client dies":
            self.trouble = None
            raise Killed
        return result


class OutboxMachine(RuleBasedStateMachine):
    """Whatever was acknowledged is read at once and arrives behind, in order, once."""

    @initialize()
    def start(self):
        self.directory = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.inner = TroubledStore()
        self.clock = FakeClock()
        self.acknowledged = {}
        self.last_record = None
        self.restart()
        self.outbox.open_campaign(SPEC)

    @rule()
    def restart(self):
        self.outbox = OutboxStore(self.inner, self.directory, self.clock)

    @rule(trial=strategies.sampled_from(TRIALS))
    def record_trial(self, trial):
        self.surviving(lambda: self.outbox.record_trial(trial))
        self.acknowledged[trial.trial_id] = trial

    @rule(record=strategies.sampled_from(RECORDS))
    def record_campaign(self, record):
        self.surviving(lambda: self.outbox.record_campaign(record))
        self.last_record = record

    @rule(trouble=strategies.sampled_from(["away", "answer lost", "client dies", None]))
    def change_of_trouble(self, trouble):
        self.inner.trouble = trouble

    @rule(seconds=strategies.sampled_from([0.5, 5, 100]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def flush(self):
        self.surviving(self.outbox.flush)

    @rule(number=strategies.integers(1, 99))
    def dies_while_writing_a_file(self, number):
        half = self.directory / "pending" / f"{number:012d}-trial.json.tmp"
        half.write_text(TRIALS[0].model_dump_json()[: number * 10])
        self.restart()

    def surviving(self, step):
        try:
            step()
        except Killed:
            self.restart()

    @invariant()
    @precondition(lambda self: hasattr(self, "acknowledged"))
    def all_that_was_acknowledged_can_be_read(self):
        assert {trial.trial_id: trial for trial in self.outbox.trials(SPEC.campaign_id)} == self.acknowledged
        assert self.outbox.campaign(SPEC.campaign_id) == self.last_record

    def teardown(self):
        self.inner.trouble = None
        self.restart()
        assert self.outbox.flush() == 0
        trials = self.inner.trials(SPEC.campaign_id)
        assert len(trials) == len(self.acknowledged)
        assert {trial.trial_id: trial for trial in trials} == self.acknowledged
        assert self.inner.campaign(SPEC.campaign_id) == self.last_record
        self.outbox = None
        shutil.rmtree(self.directory)


OutboxMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestOutboxMachine = OutboxMachine.TestCase
