"""What every store must do, as a pytest class: subclass it, name your store, and the rules run against it.

class TestMyStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path): ...

    @pytest.fixture
    def reopened(self, store): ...      # how the next process would see the same data
"""

from collections.abc import Callable

import pytest

from everforge.errors import StoreUnavailable
from everforge.model.campaign import CampaignState
from everforge.model.candidate import GeneratorKind
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.store.base import Store
from everforge.testing import samples

Reopen = Callable[[], Store]


class StoreContract:
    """The rules of `everforge.store.base.Store`."""

    @pytest.fixture
    def store(self) -> Store:
        """An empty store."""
        raise NotImplementedError("a subclass of StoreContract says which store is under test")

    @pytest.fixture
    def reopened(self, store: Store) -> Reopen:
        """A function that opens the same data again, as the next process would; memory has only itself."""
        return lambda: store

    def test_unknown_campaign_has_no_trials_and_no_record(self, store: Store) -> None:
        assert store.trials("never-opened") == ()
        assert store.campaign("never-opened") is None

    def test_trial_reads_back_equal(self, store: Store) -> None:
        trial = samples.trial(said=samples.conversation(prompt="π ≈ 3\r\n\x00", reply="  spaced\n\n"))
        store.open_campaign(samples.campaign_spec())
        store.record_trial(trial)
        assert store.trials(trial.campaign_id) == (trial,)

    @pytest.mark.parametrize("verdict", list(Verdict))
    def test_trial_of_any_verdict_reads_back_equal(self, store: Store, verdict: Verdict) -> None:
        trial = samples.trial(verdict=verdict)
        store.open_campaign(samples.campaign_spec())
        store.record_trial(trial)
        assert store.trials(trial.campaign_id) == (trial,)

    def test_trials_come_in_order_of_their_numbers(self, store: Store) -> None:
        _record(store, *(samples.trial(number) for number in (2, 10, 0, 1)))
        assert [trial.number for trial in store.trials(samples.campaign_spec().campaign_id)] == [0, 1, 2, 10]

    def test_trial_recorded_twice_is_one_trial(self, store: Store) -> None:
        trial = samples.trial()
        _record(store, trial, trial)
        store.record_trial(trial)
        assert store.trials(trial.campaign_id) == (trial,)

    def test_same_candidate_in_two_trials_is_two_trials(self, store: Store) -> None:
        proposed = samples.candidate("again")
        _record(store, samples.trial(0, proposed=proposed), samples.trial(1, proposed=proposed))
        assert len(store.trials(samples.campaign_spec().campaign_id)) == 2

    def test_trials_stay_with_their_campaign(self, store: Store) -> None:
        other = samples.campaign_spec(name="other")
        store.open_campaign(other)
        _record(store, samples.trial(0))
        store.record_trial(samples.trial(1, spec=other))
        assert [trial.number for trial in store.trials(other.campaign_id)] == [1]

    def test_campaign_opened_again_keeps_its_trials_and_its_place(self, store: Store) -> None:
        tracking = store.open_campaign(samples.campaign_spec())
        store.record_trial(samples.trial(0))
        assert store.open_campaign(samples.campaign_spec(trials=80)) == tracking
        assert len(store.trials(samples.campaign_spec().campaign_id)) == 1

    def test_next_process_finds_what_was_recorded(self, store: Store, reopened: Reopen) -> None:
        trials = (samples.trial(0), samples.trial(1, verdict=Verdict.CRASH))
        tracking = _record(store, *trials)
        store.record_campaign(samples.campaign_record(trials=trials))
        again = reopened()
        assert again.trials(samples.campaign_spec().campaign_id) == trials
        assert again.campaign(samples.campaign_spec().campaign_id) == samples.campaign_record(trials=trials)
        again.record_trial(trials[0])
        assert again.open_campaign(samples.campaign_spec()) == tracking
        assert again.trials(samples.campaign_spec().campaign_id) == trials

    def test_last_campaign_record_counts(self, store: Store) -> None:
        spec = samples.campaign_spec()
        store.open_campaign(spec)
        assert store.campaign(spec.campaign_id) is None
        store.record_campaign(samples.campaign_record(spec))
        ended = samples.campaign_record(spec, state=CampaignState.SUCCEEDED, trials=(samples.trial(),))
        store.record_campaign(ended)
        assert store.campaign(spec.campaign_id) == ended

    def test_facts_can_be_recorded_again(self, store: Store) -> None:
        spec = samples.campaign_spec()
        store.open_campaign(spec)
        store.record_facts(spec.campaign_id, samples.task_facts())
        store.record_facts(spec.campaign_id, samples.task_facts())
        assert store.flush() == 0

    def test_champion_comes_back_with_its_place_in_the_registry(self, store: Store) -> None:
        trial = _champion_trial()
        _record(store)
        champion = store.register_champion(trial.campaign_id, samples.champion(trial), trial)
        assert champion.run_id is not None
        assert champion.model_uri is not None
        assert champion.candidate_digest == trial.candidate.digest

    def test_champion_is_kept_as_a_trial_too(self, store: Store) -> None:
        trial = _champion_trial()
        _record(store)
        store.register_champion(trial.campaign_id, samples.champion(trial), trial)
        store.record_trial(trial)
        assert store.trials(trial.campaign_id) == (trial,)

    def test_same_candidate_registered_twice_is_one_version(self, store: Store, reopened: Reopen) -> None:
        trial = _champion_trial()
        _record(store)
        first = store.register_champion(trial.campaign_id, samples.champion(trial), trial)
        again = reopened()
        assert again.register_champion(trial.campaign_id, samples.champion(trial), trial) == first

    def test_another_candidate_is_another_version(self, store: Store) -> None:
        one, two = _champion_trial(0), _champion_trial(1)
        _record(store)
        first = store.register_champion(one.campaign_id, samples.champion(one), one)
        second = store.register_champion(two.campaign_id, samples.champion(two), two)
        assert first.model_uri != second.model_uri

    def test_write_to_a_campaign_never_opened_is_not_dropped_silently(self, store: Store) -> None:
        try:
            store.record_trial(samples.trial())
        except StoreUnavailable as refusal:
            assert samples.campaign_spec().campaign_id in str(refusal)  # noqa: PT017 - an outbox keeps it instead
        else:
            assert store.flush() == 1

    def test_odd_names_and_texts_are_kept(self, store: Store) -> None:
        task = samples.task_spec(name="level 1/7: GELU & 'softmax' \"ü\" %2F")
        spec = samples.campaign_spec(name="odd", task=task)
        proposed = samples.candidate(
            "odd",
            generator=GeneratorKind.LLM,
            strategy="a\nb | <b>c</b> " * 1000,
            parameters={"block/size:x y": 4, "ü": "é" * 9000, "": True, "..": 0.5},
        )
        trial = samples.trial(spec=spec, proposed=proposed)
        store.open_campaign(spec)
        store.record_trial(trial)
        champion = store.register_champion(spec.campaign_id, samples.champion(trial), trial)
        assert champion.model_uri is not None
        assert store.trials(spec.campaign_id) == (trial,)


def _record(store: Store, *trials: Trial) -> object:
    """Open the sample campaign and record its trials."""
    tracking = store.open_campaign(samples.campaign_spec())
    for trial in trials:
        store.record_trial(trial)
    return tracking


def _champion_trial(number: int = 0) -> Trial:
    return samples.trial(number, purpose=Purpose.CHAMPION)
