"""Stop rules of the manifest: each only where it is asked for, and each with its reason in the record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.campaign import CampaignSpec, StopReason
from everforge.model.manifest import KernelOptimization
from everforge.model.search_settings import Plateau, PolicyKind, SearchSettings
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.decision import Confirm, Propose, SearchState, Stop, next_step
from everforge.search.history import History
from everforge.search.lifecycle import spec_digest
from everforge.search.stop_rules import standstill
from everforge.testing import samples

PLATEAU = Plateau(trials=3, percent=10)


def spec_of(**search: object) -> CampaignSpec:
    settings = SearchSettings.model_validate(search)
    return samples.campaign_spec().model_copy(update={"search": settings, "target_speedup": None})


def after(*trials: Trial, spec: CampaignSpec) -> object:
    return next_step(SearchState(spec=spec, trials=trials))


def climb(*speedups: float) -> tuple[Trial, ...]:
    return tuple(samples.trial(number, speedup=speedup) for number, speedup in enumerate(speedups))


def of_light(number: int, fraction: float, speedup: float = 2.0, purpose: Purpose = Purpose.SEARCH) -> Trial:
    """A trial at a share of the roofline's rate; all such trials are of one candidate."""
    measured = samples.trial(number, speedup=speedup, purpose=purpose, proposed=samples.candidate("light"))
    evaluation = measured.evaluation.model_copy(update={"sol_fraction": fraction})
    return measured.model_copy(update={"evaluation": evaluation})


def test_search_goes_on_without_a_plateau_rule() -> None:
    assert isinstance(after(*climb(2.0, *[1.1] * 30), spec=spec_of()), Propose)


def test_standing_still_ends_the_search_once_its_best_was_re_measured() -> None:
    trials = climb(1.5, 1.51, 1.52, 1.53)
    spec = spec_of(plateau=PLATEAU)
    step = after(*trials, spec=spec)
    assert isinstance(step, Confirm)
    assert step.trial == trials[3]
    confirmed = samples.trial(4, speedup=1.55, purpose=Purpose.CHAMPION, proposed=trials[3].candidate)
    step = after(*trials, confirmed, spec=spec)
    assert isinstance(step, Stop)
    assert step.reason is StopReason.PLATEAU
    assert "3 candidates in a row were not 10 % faster than 1.50x" in step.detail


def test_small_gains_that_add_up_are_a_gain() -> None:
    assert standstill(History(climb(1.0, 1.05, 1.09, 1.12)), PLATEAU) is None
    assert standstill(History(climb(1.0, 1.05, 1.07, 1.09)), PLATEAU) is not None


def test_failures_count_towards_the_standstill_but_nothing_does_before_a_first_kernel_works() -> None:
    broken = [samples.trial(number, verdict=Verdict.COMPILE_ERROR) for number in range(1, 8)]
    assert standstill(History(tuple(broken)), PLATEAU) is None
    assert standstill(History((samples.trial(0), *broken[:2])), PLATEAU) is None
    assert standstill(History((samples.trial(0), *broken[:3])), PLATEAU) is not None


def test_refuted_speedup_is_no_level_to_stand_still_on() -> None:
    trials = climb(9.0, 1.2, 1.4, 1.6)
    refuted = samples.trial(4, verdict=Verdict.INCORRECT, purpose=Purpose.CHAMPION, proposed=trials[0].candidate)
    assert standstill(History(trials), PLATEAU) is not None
    assert standstill(History((*trials, refuted)), PLATEAU) is None


@given(st.lists(st.floats(0.1, 10), max_size=12), st.integers(1, 5), st.integers(1, 50))
def test_standstill_means_that_the_latest_candidates_gained_nothing(
    speedups: list[float], trials: int, percent: int
) -> None:
    still = standstill(History(climb(*speedups)), Plateau(trials=trials, percent=percent))
    before, latest = speedups[:-trials], speedups[-trials:]
    gained = not before or any(speedup >= max(before) * (1 + percent / 100) for speedup in latest)
    assert still is None or not gained


def test_trial_close_to_the_speed_of_light_is_re_measured_at_once_and_ends_the_search() -> None:
    spec = spec_of(sol_fraction=0.8)
    assert isinstance(after(of_light(0, 0.7), spec=spec), Propose)
    step = after(of_light(0, 0.85), spec=spec)
    assert isinstance(step, Confirm)
    step = after(of_light(0, 0.85), of_light(1, 0.82, purpose=Purpose.CHAMPION), spec=spec)
    assert isinstance(step, Stop)
    assert step.reason is StopReason.LIGHT
    assert step.detail == "a champion was confirmed at 82% of the roofline's rate; 80% was asked for"


def test_champion_that_fell_short_of_the_light_when_re_measured_does_not_end_the_search() -> None:
    spec = spec_of(sol_fraction=0.8)
    assert isinstance(after(of_light(0, 0.85), of_light(1, 0.79, purpose=Purpose.CHAMPION), spec=spec), Propose)


def test_slower_trial_close_to_the_light_is_not_re_measured() -> None:
    slow = samples.trial(0, verdict=Verdict.SLOWER, speedup=0.9)
    slow = slow.model_copy(update={"evaluation": slow.evaluation.model_copy(update={"sol_fraction": 0.95})})
    assert isinstance(after(slow, spec=spec_of(sol_fraction=0.8)), Propose)


def test_search_as_it_always_was_leaves_the_spec_its_digest() -> None:
    dumped = spec_of().model_dump(mode="json")
    assert dumped.pop("search") == SearchSettings().model_dump(mode="json")
    assert spec_digest(spec_of()) == spec_digest(CampaignSpec.model_validate(dumped))
    assert spec_digest(spec_of(policy="tree")) != spec_digest(spec_of())
    assert spec_of(policy="tree").campaign_id == spec_of().campaign_id


def manifest_with(search: object) -> KernelOptimization:
    spec = {"task": {"inline": "class Model: ..."}, "targets": [{"devicePool": "cpu"}], "search": search}
    return KernelOptimization.read(
        {
            "apiVersion": "everforge.dev/v1alpha1",
            "kind": "KernelOptimization",
            "metadata": {"name": "softmax"},
            "spec": spec,
        }
    )


def test_manifest_says_how_to_search() -> None:
    read = manifest_with({"policy": "map-elites", "seed": 7, "plateau": {"trials": 9}, "solFraction": "0.9"})
    assert read.spec.search.resolved() == SearchSettings(
        policy=PolicyKind.MAP_ELITES, seed=7, plateau=Plateau(trials=9, percent=1), sol_fraction=0.9
    )
    assert manifest_with({"plateau": {}}).spec.search.resolved().plateau == Plateau()
    assert manifest_with({}).spec.search.resolved() == SearchSettings()


@pytest.mark.parametrize("wrong", ["0", "0.0", "1.1", "2", "90%", ".9", "-0.5"])
def test_share_of_the_roofline_lies_above_0_and_up_to_1(wrong: str) -> None:
    with pytest.raises(ValueError, match="solFraction"):
        manifest_with({"solFraction": wrong})
