"""Naming a champion on a machine with two devices of one kind: `faster` on both, or it is none."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.budget import Budget, Spend
from everforge.model.campaign import CampaignSpec, StopReason
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.decision import Confirm, Dry, Propose, SearchState, Stop, next_step
from everforge.search.history import is_elsewhere, speedup_of
from everforge.search.summary import champion_of, total_spend
from everforge.testing import samples

BUILTIN = GeneratorKind.BUILTIN
TRIAL_SECONDS = 10.0
DONE = {BUILTIN: Dry(reason=StopReason.EXHAUSTED, detail="nothing more")}
A, B = samples.candidate("a"), samples.candidate("b")


def spec_of(budget: Budget | None = None, target: float | None = None) -> CampaignSpec:
    update = {"budget": budget or Budget(trials=10), "target_speedup": target}
    return samples.campaign_spec().model_copy(update=update)


def trial_of(
    number: int,
    candidate: Candidate,
    speedup: float = 1.5,
    verdict: Verdict = Verdict.FASTER,
    device: int | None = None,
) -> Trial:
    """A trial of the search, or a re-measurement on the device with that index."""
    purpose = Purpose.SEARCH if device is None else Purpose.CHAMPION
    trial = samples.trial(number, spec_of(), verdict, speedup, purpose, candidate)
    environment = trial.evaluation.environment.model_copy(update={"device_count": 2, "device_index": device or 0})
    evaluation = trial.evaluation.model_copy(update={"environment": environment})
    spend = Spend(trials=int(device is None and verdict.is_final), seconds=TRIAL_SECONDS, device_seconds=TRIAL_SECONDS)
    return trial.model_copy(update={"evaluation": evaluation, "spend": spend})


def state_of(*trials: Trial, spec: CampaignSpec | None = None, live: bool = False) -> SearchState:
    return SearchState(
        spec=spec or spec_of(),
        trials=trials,
        spent=total_spend(trials, Spend()),
        dry={} if live else DONE,
        two_devices=True,
    )


def test_first_remeasurement_is_on_the_device_of_the_search() -> None:
    found = trial_of(0, A)
    assert next_step(state_of(found)) == Confirm(trial=found)


def test_confirmed_trial_is_measured_on_the_other_device_next() -> None:
    here = trial_of(1, A, device=0)
    state = state_of(trial_of(0, A), here)
    assert state.history.champion() is None
    assert next_step(state) == Confirm(trial=here, elsewhere=True)


def test_one_device_is_enough_where_there_is_no_other() -> None:
    here = trial_of(1, A, device=0)
    state = state_of(trial_of(0, A), here).model_copy(update={"two_devices": False})
    assert state.history.champion() == here
    assert isinstance(next_step(state), Stop)


@pytest.mark.parametrize(("here", "elsewhere"), [(1.6, 1.4), (1.4, 1.6)])
def test_champion_claims_the_lower_of_its_two_speedups(here: float, elsewhere: float) -> None:
    state = state_of(trial_of(0, A), trial_of(1, A, here, device=0), trial_of(2, A, elsewhere, device=1))
    champion = champion_of(state.history)
    assert champion is not None
    assert champion.speedup.value == 1.4
    assert isinstance(next_step(state), Stop)


@pytest.mark.parametrize("verdict", [Verdict.SLOWER, Verdict.INCONCLUSIVE, Verdict.INCORRECT])
def test_trial_that_is_not_faster_on_the_other_device_gives_way_to_the_next_best(verdict: Verdict) -> None:
    searched = trial_of(0, A, 2.0), trial_of(1, B, 1.5)
    refuted = trial_of(2, A, 1.9, device=0), trial_of(3, A, 0.9, verdict, device=1)
    state = state_of(*searched, *refuted)
    assert state.history.champion() is None
    assert next_step(state) == Confirm(trial=searched[1])


def test_trial_refuted_on_the_first_device_is_not_measured_on_the_other() -> None:
    state = state_of(trial_of(0, A), trial_of(1, A, 1.0, Verdict.INCONCLUSIVE, device=0))
    assert isinstance(next_step(state), Stop)


def test_target_is_reached_when_both_devices_confirm_it() -> None:
    spec = spec_of(target=1.8)
    found, here, elsewhere = trial_of(0, A, 2.0), trial_of(1, A, 1.9, device=0), trial_of(2, A, 1.85, device=1)
    assert next_step(state_of(found, here, spec=spec, live=True)) == Confirm(trial=here, elsewhere=True)
    step = next_step(state_of(found, here, elsewhere, spec=spec, live=True))
    assert isinstance(step, Stop)
    assert step.reason is StopReason.TARGET


def test_search_goes_on_when_the_other_device_misses_the_target() -> None:
    found, here, elsewhere = trial_of(0, A, 2.0), trial_of(1, A, 1.9, device=0), trial_of(2, A, 1.2, device=1)
    step = next_step(state_of(found, here, elsewhere, spec=spec_of(target=1.8), live=True))
    assert step == Propose(generator=BUILTIN)


def test_half_confirmed_trial_below_the_target_does_not_hold_up_one_that_reached_it() -> None:
    half = trial_of(0, A, 2.0), trial_of(1, A, 1.2, device=0)
    better = trial_of(2, B, 1.9)
    assert next_step(state_of(*half, better, spec=spec_of(target=1.8), live=True)) == Confirm(trial=better)


def test_other_device_that_failed_once_is_tried_again_and_then_given_up() -> None:
    found, here = trial_of(0, A), trial_of(1, A, device=0)
    failed = [trial_of(number, A, verdict=Verdict.INFRA_ERROR, device=1) for number in (2, 3)]
    assert next_step(state_of(found, here, failed[0])) == Confirm(trial=here, elsewhere=True)
    step = next_step(state_of(found, here, *failed))
    assert isinstance(step, Stop)
    assert "could not be measured on another device" in step.detail


def test_time_is_kept_back_for_both_remeasurements() -> None:
    affordable = state_of(trial_of(0, A), spec=spec_of(Budget(seconds=3 * TRIAL_SECONDS)))
    short = state_of(trial_of(0, A), spec=spec_of(Budget(seconds=2.5 * TRIAL_SECONDS)))
    assert next_step(affordable) == Confirm(trial=affordable.trials[0])
    step = next_step(short)
    assert isinstance(step, Stop)
    assert "could not be re-measured" in step.detail


def test_second_remeasurement_that_cannot_be_paid_is_said() -> None:
    trials = trial_of(0, A), trial_of(1, A, device=0)
    step = next_step(state_of(*trials, spec=spec_of(Budget(seconds=2.5 * TRIAL_SECONDS))))
    assert isinstance(step, Stop)
    assert "could not be re-measured on another device" in step.detail


# --- any course a campaign can take --------------------------------------------------------------------------

VERDICTS = st.sampled_from([Verdict.FASTER, Verdict.SLOWER, Verdict.INCORRECT, Verdict.INFRA_ERROR])
OUTCOMES = st.lists(st.tuples(VERDICTS, st.floats(1.01, 4.0)), max_size=30)
SPECS = st.builds(
    spec_of,
    st.builds(Budget, trials=st.integers(1, 8), seconds=st.none() | st.floats(5.0, 200.0)),
    st.none() | st.floats(1.1, 3.0),
)


def course(spec: CampaignSpec, outcomes: Sequence[tuple[Verdict, float]]) -> SearchState:
    state = state_of(spec=spec, live=True)
    for number, (verdict, speedup) in enumerate(outcomes):
        step = next_step(state)
        if isinstance(step, Stop):
            break
        if isinstance(step, Propose):
            trial = trial_of(number, samples.candidate(str(number)), speedup, verdict)
        else:
            device = int(step.elsewhere) if isinstance(step, Confirm) else None
            trial = trial_of(number, step.trial.candidate, speedup, verdict, device)
        state = state_of(*state.trials, trial, spec=spec, live=True)
    return state


@given(SPECS, OUTCOMES)
def test_champion_was_faster_on_both_devices(spec: CampaignSpec, outcomes: Sequence[tuple[Verdict, float]]) -> None:
    history = course(spec, outcomes).history
    champion = history.champion()
    if champion is not None:
        own = [trial for trial in history.trials if trial.candidate == champion.candidate]
        faster = [
            trial for trial in own if trial.purpose is Purpose.CHAMPION and trial.evaluation.verdict is Verdict.FASTER
        ]
        assert {is_elsewhere(trial) for trial in faster} == {True, False}
        assert speedup_of(champion) == min(map(speedup_of, faster))


@given(SPECS, OUTCOMES)
def test_no_candidate_is_judged_twice_on_a_device(
    spec: CampaignSpec, outcomes: Sequence[tuple[Verdict, float]]
) -> None:
    judged = [
        (trial.candidate.digest, trial.purpose, is_elsewhere(trial))
        for trial in course(spec, outcomes).trials
        if trial.evaluation.verdict.is_final
    ]
    assert len(judged) == len(set(judged))


@given(SPECS)
def test_every_campaign_on_two_devices_ends(spec: CampaignSpec) -> None:
    endless = [(Verdict.FASTER, 1.0 + 0.01 * number) for number in range(60)]
    assert isinstance(next_step(course(spec, endless)), Stop)
