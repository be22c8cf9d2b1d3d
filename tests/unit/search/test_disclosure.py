"""What generators are told of a re-measurement: that it failed, and nothing of shapes they were not shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.budget import Spend
from everforge.model.evaluation import VariantResult
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.disclosure import WRONG_ON_HELD_OUT, disclosed, told_to_generators
from everforge.search.generator import SearchContext
from everforge.search.history import History
from everforge.testing import samples
from everforge.testing.record_strategies import records

SECRET = "31337"
FAILURES = [v for v in Verdict if v.is_final and not v.is_correct]


def remeasured(number: int, verdict: Verdict, of: Trial) -> Trial:
    again = samples.trial(number, verdict=verdict, purpose=Purpose.CHAMPION, proposed=of.candidate)
    hidden = VariantResult(name=f"rows-{SECRET}", held_out=True, correct=verdict.is_correct, detail=f"row {SECRET}")
    told = {"reason": SECRET, "diagnostics": SECRET, "evidence": (SECRET,), "variants": (hidden,)}
    if verdict.is_correct:
        del told["reason"]
    return again.model_copy(update={"evaluation": again.evaluation.model_copy(update=told)})


@pytest.mark.parametrize("verdict", FAILURES)
def test_failed_re_measurement_is_told_with_its_verdict_and_without_shapes(verdict: Verdict) -> None:
    first = samples.trial(0)
    told = told_to_generators(History((first, samples.trial(1), remeasured(2, verdict, first))))
    assert [trial.number for trial in told] == [0, 1, 2]
    assert told[2].evaluation.verdict is verdict
    assert told[2].evaluation.reason
    assert SECRET not in told[2].model_dump_json()


def test_wrong_on_held_out_shapes_keeps_the_evaluators_words() -> None:
    assert disclosed(remeasured(1, Verdict.INCORRECT, samples.trial(0))).evaluation.reason == WRONG_ON_HELD_OUT


@pytest.mark.parametrize("verdict", [v for v in Verdict if v not in FAILURES])
def test_re_measurement_that_did_not_fail_is_not_told(verdict: Verdict) -> None:
    first = samples.trial(0)
    told = told_to_generators(History((first, remeasured(1, verdict, first))))
    assert told == (first,)


def test_context_withholds_held_out_shapes_whoever_fills_it() -> None:
    first = samples.trial(0)
    context = SearchContext(
        spec=samples.campaign_spec(),
        facts=samples.task_facts(),
        trials=(first, remeasured(1, Verdict.CRASH, first)),
        spent=Spend(),
    )
    assert context.trials[0] == first
    assert SECRET not in context.trials[1].model_dump_json()


@given(records(Trial), st.sampled_from(Purpose))
def test_disclosing_twice_is_disclosing_once_and_leaves_the_search_alone(trial: Trial, purpose: Purpose) -> None:
    given_trial = trial.model_copy(update={"purpose": purpose})
    once = disclosed(given_trial)
    assert disclosed(once) == once
    assert (once == given_trial) or purpose is Purpose.CHAMPION
    assert purpose is Purpose.SEARCH or not any(result.held_out for result in once.evaluation.variants)
