"""The outbox: nothing lost, nothing doubled, whatever happens in between."""

import shutil
import subprocess
import sys

import pytest

from everforge.errors import StoreRefused, StoreUnavailable, UsageError
from everforge.store.memory import MemoryStore
from everforge.store.outbox import LONGEST_DELAY_S, OutboxStore
from everforge.testing import samples
from everforge.testing.fakes import FakeClock
from everforge.testing.store_contract import StoreContract

CAMPAIGN = samples.campaign_spec().campaign_id


class AwayStore(MemoryStore):
    """A store whose server can be taken away, and which counts how often it was asked meanwhile."""

    def __init__(self):
        super().__init__()
        self.is_away = False
        self.attempts = 0

    def _opened(self, campaign_id):
        self._reach()
        return super()._opened(campaign_id)

    def open_campaign(self, spec):
        self._reach()
        return super().open_campaign(spec)

    def trials(self, campaign_id):
        self._reach()
        return super().trials(campaign_id)

    def campaign(self, campaign_id):
        self._reach()
        return super().campaign(campaign_id)

    def _reach(self):
        if self.is_away:
            self.attempts += 1
            raise StoreUnavailable("the server is away")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def inner():
    return AwayStore()


@pytest.fixture
def open_outbox(inner, tmp_path, clock):
    return lambda: OutboxStore(inner, tmp_path / "outbox", clock, tracking_uri="http://mlflow:5000")


@pytest.fixture
def outbox(open_outbox):
    return open_outbox()


class TestOutboxOverMemory(StoreContract):
    @pytest.fixture
    def store(self, outbox):
        return outbox

    @pytest.fixture
    def reopened(self, open_outbox):
        return open_outbox


class TestOutboxWhileTheServerIsAway(StoreContract):
    """All that the contract asks of reads holds on the journal alone."""

    @pytest.fixture
    def store(self, inner, outbox):
        inner.is_away = True
        return outbox

    @pytest.fixture
    def reopened(self, open_outbox):
        return open_outbox

    def test_facts_can_be_recorded_again(self, store, inner):
        store.open_campaign(samples.campaign_spec())
        store.record_facts(CAMPAIGN, samples.task_facts())
        assert store.flush() == 2
        inner.is_away = False
        assert store.flush() == 0

    def test_champion_comes_back_with_its_place_in_the_registry(self, store, inner):
        trial = samples.trial()
        champion = samples.champion(trial)
        store.open_campaign(samples.campaign_spec())
        assert store.register_champion(CAMPAIGN, champion, trial) == champion
        assert inner.versions == {}
        inner.is_away = False
        assert store.flush() == 0
        assert inner.versions == {"softmax-lse-cpu": [champion.candidate_digest]}

    def test_another_candidate_is_another_version(self, store, inner):
        store.open_campaign(samples.campaign_spec())
        for number in (0, 1):
            trial = samples.trial(number)
            store.register_champion(CAMPAIGN, samples.champion(trial), trial)
        inner.is_away = False
        store.flush()
        assert len(inner.versions["softmax-lse-cpu"]) == 2

    def test_odd_names_and_texts_are_kept(self, store):
        trial = samples.trial(proposed=samples.candidate("\u2028 π \x00", strategy="a/b\n"))
        store.open_campaign(samples.campaign_spec())
        store.record_trial(trial)
        assert store.trials(CAMPAIGN) == (trial,)


def test_accepted_trials_are_readable_while_the_server_is_away(inner, outbox, open_outbox):
    outbox.open_campaign(samples.campaign_spec())
    outbox.record_trial(samples.trial(0))
    outbox.record_campaign(samples.campaign_record())
    inner.is_away = True
    outbox.record_trial(samples.trial(1))
    resumed = open_outbox()
    assert resumed.trials(CAMPAIGN) == (samples.trial(0), samples.trial(1))
    assert resumed.campaign(CAMPAIGN) == samples.campaign_record()


def test_trials_another_machine_recorded_are_kept_for_an_outage(inner, outbox):
    inner.open_campaign(samples.campaign_spec())
    inner.record_trial(samples.trial(0))
    inner.record_campaign(samples.campaign_record())
    assert outbox.trials(CAMPAIGN) == (samples.trial(0),)
    assert outbox.campaign(CAMPAIGN) == samples.campaign_record()
    inner.is_away = True
    assert outbox.trials(CAMPAIGN) == (samples.trial(0),)
    assert outbox.campaign(CAMPAIGN) == samples.campaign_record()


def test_writes_wait_longer_between_attempts_up_to_a_minute(inner, outbox, clock):
    inner.is_away = True
    outbox.open_campaign(samples.campaign_spec())
    waits, asked_at_s = [], clock.monotonic_s()
    for _ in range(400):
        clock.advance(1)
        before = inner.attempts
        outbox.trials(CAMPAIGN)
        if inner.attempts > before:
            waits.append(clock.monotonic_s() - asked_at_s)
            asked_at_s = clock.monotonic_s()
    assert waits[:7] == [1, 2, 4, 8, 16, 32, LONGEST_DELAY_S]
    assert set(waits[6:]) == {LONGEST_DELAY_S}


def test_flush_asks_at_once_and_success_ends_the_waiting(inner, outbox):
    inner.is_away = True
    outbox.open_campaign(samples.campaign_spec())
    assert outbox.flush() == 1
    inner.is_away = False
    assert outbox.flush() == 0
    outbox.record_trial(samples.trial())
    assert inner.trials(CAMPAIGN) == (samples.trial(),)


def test_place_is_known_once_the_server_is_back(inner, outbox, clock):
    inner.is_away = True
    away = outbox.open_campaign(samples.campaign_spec())
    assert (away.tracking_uri, away.run_id) == ("http://mlflow:5000", None)
    inner.is_away = False
    clock.advance(LONGEST_DELAY_S)
    assert outbox.open_campaign(samples.campaign_spec()) == inner.open_campaign(samples.campaign_spec())


def test_refused_campaign_does_not_hold_up_another(inner, outbox):
    outbox.record_trial(samples.trial(0))
    other = samples.campaign_spec(name="other")
    outbox.open_campaign(other)
    outbox.record_trial(samples.trial(0, spec=other))
    assert len(inner.trials(other.campaign_id)) == 1
    assert outbox.flush() == 1


def test_writes_refused_by_an_emptied_store_follow_once_the_campaign_is_opened(inner, outbox):
    outbox.record_trial(samples.trial(0))
    with pytest.raises(StoreRefused):
        inner.record_trial(samples.trial(0))
    outbox.open_campaign(samples.campaign_spec())
    assert inner.trials(CAMPAIGN) == (samples.trial(0),)


def test_half_written_file_is_removed_and_never_replayed(inner, outbox, open_outbox, tmp_path):
    outbox.open_campaign(samples.campaign_spec())
    half = tmp_path / "outbox" / "pending" / "000000000007-trial.json.tmp"
    half.write_text(samples.trial().model_dump_json()[:100])
    assert open_outbox().flush() == 0
    assert not half.exists()


def test_unreadable_file_is_set_aside_and_does_not_hold_up_others(inner, outbox, tmp_path, caplog):
    outbox.open_campaign(samples.campaign_spec())
    damaged = tmp_path / "outbox" / "pending" / "000000000001-trial.json"
    damaged.write_text('{"campaign_id": "x"}')
    outbox.record_trial(samples.trial())
    assert inner.trials(CAMPAIGN) == (samples.trial(),)
    assert damaged.with_suffix(".unreadable").exists()
    assert str(damaged) in caplog.text


def test_directory_that_cannot_be_made_is_a_usage_error(inner, clock, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        OutboxStore(inner, tmp_path / "file" / "outbox", clock)


def test_write_the_disk_does_not_take_is_not_acknowledged(outbox, tmp_path):
    outbox.open_campaign(samples.campaign_spec())
    shutil.rmtree(tmp_path / "outbox" / "pending")
    with pytest.raises(StoreUnavailable, match="outbox cannot be written"):
        outbox.record_trial(samples.trial())


HOLDER = """
import sys
from pathlib import Path
from everforge.store.journal import Journal
journal = Journal(Path(sys.argv[1]))
print("holding", flush=True)
sys.stdin.read()
"""


def test_second_process_on_one_directory_is_told_so_and_may_follow(inner, open_outbox, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "outbox"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"holding\n"
        with pytest.raises(UsageError, match=rf"in use by another everforge process \(pid {holder.pid}\)"):
            open_outbox()
        holder.kill()
        holder.wait()
        open_outbox().open_campaign(samples.campaign_spec())
