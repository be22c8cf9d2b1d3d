"""Statuses of the objects: what may follow what, and what they take from a campaign's record."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from everforge.model.budget import Spend
from everforge.model.campaign import Champion
from everforge.model.condition import Condition, ConditionStatus, condition_of, holds, with_condition
from everforge.model.interval import Interval
from everforge.model.kopt_status import (
    TARGET_TRANSITIONS,
    ChampionStatus,
    SpendStatus,
    TargetState,
    TrialCounts,
    lowest_speedup,
)
from everforge.model.runner_claim import CLAIM_TRANSITIONS, ClaimPhase, RunnerClaimStatus
from everforge.model.scalars import decimal_text
from everforge.model.verdict import Verdict

NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
LATER = NOON + datetime.timedelta(minutes=1)


def champion(speedup: float) -> Champion:
    return Champion(
        trial_id="t1",
        candidate_digest="sha256:" + "0" * 64,
        speedup=Interval(value=speedup, low=speedup - 0.1, high=speedup + 0.1),
        speedup_fp32=None,
        sol_fraction=None,
        algebraic=False,
    )


@pytest.mark.parametrize("state", [state for state in TargetState if state.is_finished])
def test_end_of_a_target_is_final(state: TargetState) -> None:
    assert [after for after in TargetState if state.may_become(after)] == [state]


@pytest.mark.parametrize("phase", [phase for phase in ClaimPhase if phase.is_finished])
def test_end_of_a_claim_is_final(phase: ClaimPhase) -> None:
    assert [after for after in ClaimPhase if phase.may_become(after)] == [phase]
    assert not phase.occupies


def test_every_state_has_a_row_and_an_end_it_can_reach() -> None:
    assert set(TARGET_TRANSITIONS) == set(TargetState)
    assert set(CLAIM_TRANSITIONS) == set(ClaimPhase)
    assert all(state.may_become(TargetState.FAILED) for state in TargetState if not state.is_finished)
    assert all(phase.may_become(ClaimPhase.FAILED) for phase in ClaimPhase if not phase.is_finished)


def test_bound_claim_says_how_its_runner_is_reached() -> None:
    with pytest.raises(ValidationError, match="a Bound claim has address"):
        RunnerClaimStatus(phase=ClaimPhase.BOUND, address="http://10.0.0.1:8000")


def test_condition_keeps_its_time_until_its_status_changes() -> None:
    first = with_condition([], "Ready", ConditionStatus.FALSE, "NoNodes", "label a node", NOON, 1)
    same = with_condition(first, "Ready", ConditionStatus.FALSE, "NoDevices", "install a plugin", LATER, 2)
    other = with_condition(same, "Ready", ConditionStatus.TRUE, "DevicesFound", "", LATER, 2)
    assert [condition.last_transition_time for condition in (*first, *same, *other)] == [NOON, NOON, LATER]
    assert (same[0].reason, same[0].observed_generation) == ("NoDevices", 2)


def test_condition_is_replaced_in_its_place() -> None:
    conditions: list[Condition] = []
    for type_ in ("Accepted", "Succeeded", "Accepted"):
        conditions = with_condition(conditions, type_, ConditionStatus.TRUE, "Known", "", NOON)
    assert [condition.type for condition in conditions] == ["Accepted", "Succeeded"]
    assert holds(conditions, "Accepted")
    assert condition_of(conditions, "Improved") is None


def test_message_longer_than_the_server_takes_is_cut() -> None:
    (condition,) = with_condition([], "Ready", ConditionStatus.FALSE, "Failed", "x" * 40000, NOON)
    assert len(condition.message) == 32768


@given(st.floats(min_value=0, max_value=999_999))
def test_decimal_is_within_half_of_its_last_place(value: float) -> None:
    text = decimal_text(value)
    assert abs(float(text) - value) <= 0.5e-4 + 1e-9
    assert SpendStatus(dollars=text).dollars == text


@pytest.mark.parametrize(("value", "text"), [(1.5, "1.5"), (2, "2"), (0, "0"), (1.00004, "1"), (0.12345, "0.1235")])
def test_decimal_has_no_idle_zeros(value: float, text: str) -> None:
    assert decimal_text(value) == text


@pytest.mark.parametrize("value", [-0.1, 1e6, float("nan"), float("inf")])
def test_decimal_refuses_what_the_api_cannot_say(value: float) -> None:
    with pytest.raises(ValueError, match="below a million"):
        decimal_text(value)


def test_champion_of_a_record_has_its_numbers_as_text() -> None:
    written = ChampionStatus.of(champion(1.5)).written()
    assert (written["speedup"], written["speedupLow"], written["speedupHigh"]) == ("1.5", "1.4", "1.6")
    assert "speedupFp32" not in written


def test_trials_are_counted_by_what_their_verdicts_mean() -> None:
    counts = TrialCounts.of({Verdict.FASTER: 2, Verdict.SLOWER: 3, Verdict.TAMPERED: 1, Verdict.INFRA_ERROR: 4})
    assert counts == TrialCounts(finished=6, correct=5, faster=2, refused=1, infra_failed=4)
    assert counts.plus(counts).finished == 12


def test_spend_of_a_record_is_whole_seconds_and_dollars_as_text() -> None:
    spend = SpendStatus.of(Spend(trials=3, seconds=9.9, device_seconds=2.5, tokens=10, dollars=0.125))
    assert spend == SpendStatus(trials=3, seconds=9, device_seconds=2, tokens=10, dollars="0.125")


def test_lowest_speedup_is_compared_as_a_number() -> None:
    champions = [ChampionStatus.of(champion(10.5)), ChampionStatus.of(champion(9.25)), None]
    assert lowest_speedup(champions) == "9.25"
    assert lowest_speedup(champions[2:]) is None


def test_speedup_beyond_all_bounds_is_the_largest_that_can_be_said() -> None:
    assert ChampionStatus.of(champion(2e9)).speedup == "999999"
