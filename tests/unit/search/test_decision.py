"""The search's decisions: rules on chosen states, and properties over any course a campaign can take."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.budget import Budget, Spend
from everforge.model.campaign import CampaignRecord, CampaignSpec, CampaignState, StopReason
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Fault, Verdict
from everforge.search.decision import (
    MAX_FAILURES_IN_A_ROW,
    Confirm,
    Dry,
    Propose,
    Retry,
    SearchState,
    Stop,
    next_step,
)
from everforge.search.history import History, speedup_of
from everforge.search.lifecycle import (
    IllegalTransition,
    conclude,
    forgiven_before,
    is_settled,
    spec_digest,
    transition,
)
from everforge.search.summary import total_spend
from everforge.testing import samples

BUILTIN, LLM = GeneratorKind.BUILTIN, GeneratorKind.LLM
TRIAL_SECONDS = 10.0


def spec_of(
    budget: Budget | None = None,
    target: float | None = None,
    kinds: tuple[GeneratorKind, ...] = (BUILTIN,),
) -> CampaignSpec:
    return samples.campaign_spec().model_copy(
        update={"budget": budget or Budget(trials=10), "target_speedup": target, "generators": kinds}
    )


def trial_of(
    number: int,
    verdict: Verdict = Verdict.FASTER,
    speedup: float = 1.5,
    purpose: Purpose = Purpose.SEARCH,
    candidate: Candidate | None = None,
) -> Trial:
    counted = purpose is Purpose.SEARCH and verdict.is_final
    spend = Spend(trials=int(counted), seconds=TRIAL_SECONDS, device_seconds=TRIAL_SECONDS)
    trial = samples.trial(number, spec_of(), verdict, speedup, purpose, candidate)
    return trial.model_copy(update={"spend": spend})


def state_of(trials: Sequence[Trial] = (), spec: CampaignSpec | None = None, **more: object) -> SearchState:
    kept = tuple(trials)
    spent = total_spend(kept, Spend())
    return SearchState(spec=spec or spec_of(), trials=kept, spent=spent, **more)  # type: ignore[arg-type]


def dry(*kinds: GeneratorKind) -> dict[GeneratorKind, Dry]:
    return {kind: Dry(reason=StopReason.EXHAUSTED, detail="nothing more") for kind in kinds}


def test_fresh_campaign_asks_the_builtin_generator_first() -> None:
    state = state_of(spec=spec_of(kinds=(LLM, BUILTIN)))
    assert next_step(state) == Propose(generator=BUILTIN)


def test_generator_with_fewest_judged_candidates_is_next() -> None:
    state = state_of([trial_of(0, Verdict.SLOWER, 0.9)], spec_of(kinds=(BUILTIN, LLM)))
    assert next_step(state) == Propose(generator=LLM)


def test_dry_generator_is_not_asked_again() -> None:
    state = state_of(spec=spec_of(kinds=(BUILTIN, LLM)), dry=dry(BUILTIN))
    assert next_step(state) == Propose(generator=LLM)


def test_trial_the_machine_failed_is_tried_again() -> None:
    failed = trial_of(0, Verdict.INFRA_ERROR)
    assert next_step(state_of([failed])) == Retry(trial=failed)


def test_candidate_the_machine_failed_twice_is_given_up() -> None:
    poison = samples.candidate("poison")
    failed = [trial_of(number, Verdict.INFRA_ERROR, candidate=poison) for number in range(2)]
    assert next_step(state_of(failed)) == Propose(generator=BUILTIN)


def test_machine_failures_in_a_row_end_the_campaign_and_name_the_fault() -> None:
    failed = [trial_of(number, Verdict.INFRA_ERROR) for number in range(MAX_FAILURES_IN_A_ROW)]
    step = next_step(state_of(failed))
    assert isinstance(step, Stop)
    assert (step.reason, step.fault) == (StopReason.MACHINE, Fault.HARNESS)


def test_forgiven_failures_are_not_held_against_a_mended_machine() -> None:
    failed = [trial_of(number, Verdict.INFRA_ERROR) for number in range(MAX_FAILURES_IN_A_ROW)]
    step = next_step(state_of(failed, forgiven_before=len(failed)))
    assert step == Retry(trial=failed[0])


def test_verdict_between_failures_starts_the_count_anew() -> None:
    verdicts = [Verdict.INFRA_ERROR, Verdict.INFRA_ERROR, Verdict.SLOWER, Verdict.INFRA_ERROR]
    step = next_step(state_of([trial_of(n, verdict, 0.9) for n, verdict in enumerate(verdicts)]))
    assert not isinstance(step, Stop)


def test_trial_at_the_target_is_confirmed_at_once() -> None:
    winner = trial_of(0, speedup=2.0)
    assert next_step(state_of([winner], spec_of(target=1.5))) == Confirm(trial=winner)


def test_search_goes_on_when_the_target_was_not_confirmed() -> None:
    winner = trial_of(0, speedup=2.0)
    weaker = trial_of(1, speedup=1.2, purpose=Purpose.CHAMPION, candidate=winner.candidate)
    assert next_step(state_of([winner, weaker], spec_of(target=1.5))) == Propose(generator=BUILTIN)


def test_better_trial_challenges_a_confirmed_champion_at_the_end() -> None:
    first = trial_of(0, speedup=2.0)
    confirmed = trial_of(1, speedup=1.2, purpose=Purpose.CHAMPION, candidate=first.candidate)
    better = trial_of(2, speedup=1.4)
    assert next_step(state_of([first, confirmed, better], dry=dry(BUILTIN))) == Confirm(trial=better)


def test_weaker_trial_does_not_challenge_a_confirmed_champion() -> None:
    first = trial_of(0, speedup=2.0)
    confirmed = trial_of(1, speedup=1.9, purpose=Purpose.CHAMPION, candidate=first.candidate)
    weaker = trial_of(2, speedup=1.4)
    assert isinstance(next_step(state_of([first, confirmed, weaker], dry=dry(BUILTIN))), Stop)


def test_three_refuted_in_a_row_end_without_champion() -> None:
    winners = [trial_of(number, speedup=1.5 + number) for number in range(4)]
    refuted = [
        trial_of(4 + index, Verdict.INCONCLUSIVE, 1.0, Purpose.CHAMPION, winner.candidate)
        for index, winner in enumerate(reversed(winners[1:]))
    ]
    step = next_step(state_of([*winners, *refuted], dry=dry(BUILTIN)))
    assert isinstance(step, Stop)
    assert "did not repeat" in step.detail


def test_time_for_the_confirmation_is_kept_back() -> None:
    budget = Budget(seconds=2.5 * TRIAL_SECONDS)
    winner = trial_of(0)
    assert next_step(state_of([winner], spec_of(budget))) == Confirm(trial=winner)


def test_unaffordable_confirmation_is_said() -> None:
    step = next_step(state_of([trial_of(0)], spec_of(Budget(seconds=1.5 * TRIAL_SECONDS))))
    assert isinstance(step, Stop)
    assert step.reason is StopReason.BUDGET
    assert "could not be re-measured" in step.detail


def test_five_wasted_proposals_dry_a_generator_up() -> None:
    assert isinstance(next_step(state_of(wasted={BUILTIN: 5})), Stop)


def test_repeated_candidates_dry_a_generator_up() -> None:
    same = samples.candidate("same")
    repeats = [trial_of(number, Verdict.SLOWER, 0.9, candidate=same) for number in range(6)]
    assert isinstance(next_step(state_of(repeats)), Stop)


def test_llm_that_was_never_reached_is_no_success() -> None:
    unreached = {LLM: Dry(reason=StopReason.MACHINE, detail="no answer")}
    step = next_step(state_of(spec=spec_of(kinds=(LLM,)), dry=unreached))
    assert isinstance(step, Stop)
    assert step.reason is StopReason.MACHINE


def test_generators_see_no_remeasurement_and_no_failure_made_good() -> None:
    candidate = samples.candidate("c")
    failed = trial_of(0, Verdict.INFRA_ERROR, candidate=candidate)
    judged = trial_of(1, candidate=candidate)
    confirmed = trial_of(2, purpose=Purpose.CHAMPION, candidate=candidate)
    assert History((failed, judged, confirmed)).shown_to_generators() == (judged,)


# --- any course a campaign can take --------------------------------------------------------------------------

VERDICTS = st.sampled_from([Verdict.FASTER, Verdict.SLOWER, Verdict.INCORRECT, Verdict.INFRA_ERROR])
OUTCOMES = st.lists(st.tuples(VERDICTS, st.floats(1.01, 4.0), st.booleans()), max_size=25)
SPECS = st.builds(
    spec_of,
    st.builds(
        Budget,
        trials=st.integers(1, 8),
        seconds=st.none() | st.floats(5.0, 200.0),
        device_seconds=st.none() | st.floats(5.0, 200.0),
    ),
    st.none() | st.floats(1.1, 3.0),
    st.sampled_from([(BUILTIN,), (LLM,), (BUILTIN, LLM)]),
)
Outcome = tuple[Verdict, float, bool]


def after(state: SearchState, outcome: Outcome) -> SearchState:
    """Carry the next step out with a given outcome; the flag makes a generator propose an old candidate."""
    verdict, speedup, repeats = outcome
    step = next_step(state)
    assert not isinstance(step, Stop)
    purpose = Purpose.CHAMPION if isinstance(step, Confirm) else Purpose.SEARCH
    number = len(state.trials)
    if isinstance(step, Propose):
        judged = state.history.judged
        if repeats and judged:
            return with_trial(state, next(iter(judged.values())).model_copy(update={"number": number}), free=True)
        candidate = samples.candidate(str(number), generator=step.generator)
    else:
        candidate = step.trial.candidate
    return with_trial(state, trial_of(number, verdict, speedup, purpose, candidate))


def with_trial(state: SearchState, trial: Trial, free: bool = False) -> SearchState:
    kept = trial.model_copy(update={"spend": Spend()}) if free else trial
    return state_of((*state.trials, kept), state.spec)


def course(spec: CampaignSpec, outcomes: Sequence[Outcome]) -> SearchState:
    state = state_of(spec=spec)
    for outcome in outcomes:
        if isinstance(next_step(state), Stop):
            break
        state = after(state, outcome)
    return state


@given(SPECS, OUTCOMES)
def test_no_course_overspends_its_trials(spec: CampaignSpec, outcomes: Sequence[Outcome]) -> None:
    state = course(spec, outcomes)
    assert spec.budget.trials is not None
    assert state.spent.trials <= spec.budget.trials


@given(SPECS, OUTCOMES)
def test_no_step_of_known_size_overshoots_the_time(spec: CampaignSpec, outcomes: Sequence[Outcome]) -> None:
    spent = course(spec, outcomes).spent
    for name in ("seconds", "device_seconds"):
        limit = getattr(spec.budget, name)
        # The first trial's size is unknown; every later one is refused when it would not fit.
        assert limit is None or getattr(spent, name) <= max(limit, TRIAL_SECONDS)


@given(SPECS, OUTCOMES)
def test_only_a_confirmed_candidate_is_champion(spec: CampaignSpec, outcomes: Sequence[Outcome]) -> None:
    champion = course(spec, outcomes).history.champion()
    if champion is not None:
        assert champion.purpose is Purpose.CHAMPION
        assert champion.evaluation.verdict is Verdict.FASTER


@given(SPECS, OUTCOMES)
def test_campaign_that_stopped_leaves_no_better_trial_unconfirmed_unless_it_says_so(
    spec: CampaignSpec, outcomes: Sequence[Outcome]
) -> None:
    state = course(spec, outcomes)
    step, challenger = next_step(state), state.history.challenger()
    if isinstance(step, Stop) and challenger is not None and step.reason is not StopReason.MACHINE:
        said = "re-measured" in step.detail or "did not repeat" in step.detail
        assert said or step.reason is StopReason.TARGET


@given(SPECS, OUTCOMES)
def test_no_candidate_with_a_verdict_is_evaluated_again(spec: CampaignSpec, outcomes: Sequence[Outcome]) -> None:
    history = course(spec, outcomes).history
    for purpose in Purpose:
        judged = [
            trial.candidate.digest
            for trial in history.trials
            if trial.purpose is purpose and trial.evaluation.verdict.is_final and not history.is_repeat(trial)
        ]
        assert len(judged) == len(set(judged))


@given(SPECS, OUTCOMES, st.integers(0, 25))
def test_decision_resumed_from_records_is_the_unbroken_one(
    spec: CampaignSpec, outcomes: Sequence[Outcome], boundary: int
) -> None:
    unbroken = course(spec, outcomes)
    before = course(spec, outcomes[:boundary])
    reread = tuple(Trial.model_validate_json(trial.model_dump_json()) for trial in before.trials)
    resumed = state_of(reread, spec)
    for outcome in outcomes[boundary:]:
        if isinstance(next_step(resumed), Stop):
            break
        resumed = after(resumed, outcome)
    assert resumed == unbroken


@given(SPECS)
def test_every_campaign_ends_whatever_is_measured(spec: CampaignSpec) -> None:
    endless: list[Outcome] = [(Verdict.FASTER, 1.2, True), (Verdict.FASTER, 1.3, False)] * 40
    assert isinstance(next_step(course(spec, endless)), Stop)


# --- states --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("final", [CampaignState.SUCCEEDED, CampaignState.FAILED])
@pytest.mark.parametrize("to", list(CampaignState))
def test_final_state_is_final(final: CampaignState, to: CampaignState) -> None:
    with pytest.raises(IllegalTransition):
        transition(final, to)


@pytest.mark.parametrize("reason", list(StopReason))
def test_every_stop_of_a_running_campaign_has_a_state(reason: StopReason) -> None:
    state = conclude(CampaignState.RUNNING, reason)
    assert state.is_finished is (reason is not StopReason.INTERRUPTED)


def record_of(state: CampaignState, spec: CampaignSpec) -> CampaignRecord:
    return samples.campaign_record(spec, state).model_copy(update={"spec_digest": spec_digest(spec)})


def test_only_success_under_the_same_spec_is_settled() -> None:
    spec, raised = spec_of(Budget(trials=5)), spec_of(Budget(trials=6))
    succeeded = record_of(CampaignState.SUCCEEDED, spec)
    assert is_settled(succeeded, spec)
    assert not is_settled(succeeded, raised)
    assert not is_settled(record_of(CampaignState.INTERRUPTED, spec), spec)
    assert not is_settled(record_of(CampaignState.FAILED, spec), spec)
    assert not is_settled(None, spec)


def test_only_a_failed_sitting_is_forgiven() -> None:
    spec = spec_of()
    assert forgiven_before(record_of(CampaignState.FAILED, spec), 7) == 7
    assert forgiven_before(record_of(CampaignState.INTERRUPTED, spec), 7) == 0
    assert forgiven_before(None, 7) == 0


def test_untimed_trial_has_no_speedup() -> None:
    with pytest.raises(ValueError, match="not timed"):
        speedup_of(trial_of(0, Verdict.INCORRECT))
