"""What an entry was worth: counted by verdict, compared among peers alone, and never from too few."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everforge.model.candidate import GeneratorKind
from everforge.model.trial import Conversation, Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.knowledge_worth import FEWEST, EntryWorth, worth
from everforge.testing.record_strategies import records
from everforge.testing.samples import candidate, trial


def asked(
    number: int,
    *seen: str,
    speedup: float | None = None,
    verdict: Verdict = Verdict.FASTER,
    task: str = "sha256:one",
    model: str = "m",
    purpose: Purpose = Purpose.SEARCH,
) -> Trial:
    """A trial of a candidate that a model wrote after it was shown entries."""
    written = candidate(str(number), generator=GeneratorKind.LLM).model_copy(update={"model": model})
    correct = {} if speedup is None else {"speedup": speedup}
    plain = trial(number, verdict=verdict, purpose=purpose, proposed=written, **correct)
    said = Conversation(
        model=model,
        prompt="",
        reply="",
        prompt_tokens=1,
        completion_tokens=1,
        dollars=None,
        seconds=1.0,
        knowledge=seen,
    )
    evaluation = plain.evaluation.model_copy(update={"task_digest": task})
    return plain.model_copy(update={"conversation": said, "evaluation": evaluation})


def of(name: str, trials: list[Trial]) -> EntryWorth:
    return next(found for found in worth(trials, [name]) if found.id == name)


def test_trials_that_saw_an_entry_are_counted_by_verdict() -> None:
    found = of(
        "tiles",
        [
            asked(0, "tiles", "other", speedup=2.0),
            asked(1, "tiles", verdict=Verdict.COMPILE_ERROR),
            asked(2, speedup=1.1),
            trial(3, speedup=3.0),
        ],
    )
    assert found.shown == 2
    assert found.verdicts == {Verdict.FASTER: 1, Verdict.COMPILE_ERROR: 1}
    assert found.median_speedup == 2.0


def test_entry_that_was_never_shown_is_listed_only_when_asked_for() -> None:
    assert worth([asked(0, "tiles", speedup=1.0)], ())[0].id == "tiles"
    assert [found.id for found in worth([asked(0, "tiles", speedup=1.0)], ["never"])] == ["tiles", "never"]
    assert of("never", []).verdicts == {}


def test_faster_trials_that_saw_an_entry_give_a_ratio_above_1() -> None:
    trials = [asked(n, "tiles", speedup=2.0 + n / 100) for n in range(FEWEST)]
    trials += [asked(50 + n, speedup=1.0 + n / 100) for n in range(FEWEST)]
    found = of("tiles", trials)
    assert found.ratio is not None
    assert found.ratio.low > 1.5
    assert (found.compared, found.compared_with) == (FEWEST, FEWEST)


def test_fewer_than_the_fewest_on_either_side_give_no_ratio() -> None:
    trials = [asked(n, "tiles", speedup=2.0) for n in range(50)]
    trials += [asked(100 + n, speedup=1.0) for n in range(FEWEST - 1)]
    found = of("tiles", trials)
    assert (found.ratio, found.compared, found.compared_with) == (None, 50, FEWEST - 1)


@pytest.mark.parametrize("differing", ["task", "model"])
def test_trials_of_another_task_or_model_are_no_peers(differing: str) -> None:
    trials = [asked(n, "tiles", speedup=9.0, **{differing: "sha256:a"}) for n in range(20)]  # type: ignore[arg-type]
    trials += [asked(50 + n, speedup=1.0, **{differing: "sha256:b"}) for n in range(20)]  # type: ignore[arg-type]
    found = of("tiles", trials)
    assert (found.ratio, found.compared, found.compared_with) == (None, 0, 0)
    assert found.median_speedup == 9.0


def test_easy_task_does_not_speak_for_the_entry_it_is_shown() -> None:
    """Twice as fast as the peers on both tasks alike, although one task is ten times as easy."""
    trials = []
    for task, ease in (("sha256:easy", 10.0), ("sha256:hard", 1.0)):
        trials += [asked(n, "tiles", speedup=2.0 * ease, task=task) for n in range(FEWEST)]
        trials += [asked(50 + n, speedup=1.0 * ease, task=task) for n in range(FEWEST)]
    found = of("tiles", trials)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(2.0)


def test_re_measurements_and_broken_machines_are_not_counted() -> None:
    trials = [
        asked(0, "tiles", speedup=2.0, purpose=Purpose.CHAMPION),
        asked(1, "tiles", verdict=Verdict.INFRA_ERROR),
    ]
    assert of("tiles", trials).shown == 0


@given(trials=st.lists(records(Trial), max_size=6))
@settings(max_examples=50, deadline=None)
def test_any_recorded_trials_can_be_told_and_the_order_is_fixed(trials: list[Trial]) -> None:
    found = worth(trials, ["tiles"])
    assert found == worth(list(reversed(trials)), ["tiles"])
    assert [(-each.shown, each.id) for each in found] == sorted((-each.shown, each.id) for each in found)
    assert all(sum(each.verdicts.values()) == each.shown for each in found)
