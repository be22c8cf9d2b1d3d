"""Who wrote what, and how it ended: the counts per generator and model that every report shows."""

from hypothesis import given
from hypothesis import strategies as st

from everforge.model.budget import Spend
from everforge.model.candidate import GeneratorKind
from everforge.model.tally import Tally, is_worth_telling, merged
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.history import History
from everforge.search.summary import campaign_record
from everforge.search.tallies import tallies, wasted_by_model
from everforge.store.base import Tracking
from everforge.testing import samples
from everforge.testing.record_strategies import records

GPT, QWEN = "openai/gpt-4.1", "openai/qwen"


def written(number: int, verdict: Verdict, model: str = GPT, label: str | None = None, **parts: object) -> Trial:
    proposed = samples.candidate(label or f"{model} {number}", generator=GeneratorKind.LLM)
    said = samples.conversation().model_copy(update={"model": model} | parts)
    return samples.trial(number, verdict=verdict, proposed=proposed, said=said)


def of(*trials: Trial, **wasted: Spend) -> tuple[Tally, ...]:
    return tallies(History(trials), wasted)


def test_each_generator_and_each_model_has_its_own_verdicts_and_costs() -> None:
    built, gpt, qwen = of(
        samples.trial(0),
        written(1, Verdict.TAMPERED),
        written(2, Verdict.REJECTED),
        written(3, Verdict.INCORRECT, QWEN, dollars=None),
        samples.trial(4, verdict=Verdict.SLOWER),
    )
    assert (built.generator, built.model, built.author) == (GeneratorKind.BUILTIN, None, "builtin")
    assert built.trials_by_verdict == {Verdict.FASTER: 1, Verdict.SLOWER: 1}
    assert (built.trials, built.tokens, built.dollars) == (2, 0, 0)
    assert gpt.trials_by_verdict == {Verdict.REJECTED: 1, Verdict.TAMPERED: 1}
    assert (gpt.author, gpt.tokens, gpt.dollars) == (GPT, 4000, 2 * 0.0088)
    assert (qwen.author, qwen.tokens, qwen.dollars) == (QWEN, 2000, None)


def test_candidate_that_names_its_model_needs_no_conversation() -> None:
    proposed = samples.candidate(generator=GeneratorKind.LLM).model_copy(update={"model": QWEN})
    assert of(samples.trial(0, proposed=proposed))[0].model == QWEN


def test_re_measurement_counts_for_the_author_and_apart_from_the_search() -> None:
    first = written(0, Verdict.FASTER)
    again = samples.trial(1, verdict=Verdict.INCORRECT, purpose=Purpose.CHAMPION, proposed=first.candidate)
    (tally,) = of(first, again)
    assert tally.trials_by_verdict == {Verdict.FASTER: 1}
    assert tally.remeasured_by_verdict == {Verdict.INCORRECT: 1}
    assert tally.device_seconds == first.spend.device_seconds + again.spend.device_seconds
    assert tally.caught(Verdict.INCORRECT) == 1


def test_known_candidate_proposed_again_costs_tokens_and_is_no_further_trial() -> None:
    (tally,) = of(written(0, Verdict.TAMPERED, label="same"), written(1, Verdict.TAMPERED, label="same"))
    assert tally.trials_by_verdict == {Verdict.TAMPERED: 1}
    assert tally.tokens == 4000


def test_replies_without_code_are_their_models_cost_also_where_no_trial_came_of_them() -> None:
    built, gpt = tallies(History((samples.trial(0),)), {GPT: Spend(tokens=300, dollars=0.5)})
    assert built.tokens == 0
    assert (gpt.trials, gpt.tokens, gpt.tokens_without_code, gpt.dollars) == (0, 300, 300, 0.5)
    (unpriced,) = tallies(History(()), {GPT: Spend(tokens=300)})
    assert unpriced.dollars is None


def test_resumed_campaign_goes_on_with_the_costs_of_replies_without_code() -> None:
    wasted = {GPT: Spend(tokens=300, dollars=0.5)}
    record = campaign_record(
        samples.campaign_spec(),
        History((written(0, Verdict.FASTER),)),
        facts=samples.task_facts(),
        state=samples.CampaignState.RUNNING,
        overhead=wasted[GPT],
        tracking=Tracking(),
        wasted=wasted,
    )
    assert record.by_generator[0].tokens == record.spend.tokens == 2300
    assert wasted_by_model(record) == wasted
    assert wasted_by_model(None) == {}


@given(st.lists(records(Tally), max_size=6))
def test_merging_loses_no_trial_and_names_each_author_once(found: list[Tally]) -> None:
    together = merged(found)
    assert len({(tally.generator, tally.model) for tally in together}) == len(together)
    assert merged(together) == together
    for verdict in Verdict:
        assert sum(tally.caught(verdict) for tally in together) == sum(tally.caught(verdict) for tally in found)


def test_tallies_are_told_where_authors_differ_or_somebody_was_caught() -> None:
    honest = Tally(generator=GeneratorKind.BUILTIN, trials_by_verdict={Verdict.FASTER: 3, Verdict.INCORRECT: 1})
    assert not is_worth_telling((honest,))
    assert is_worth_telling((honest, Tally(generator=GeneratorKind.LLM)))
    for verdict in (Verdict.REJECTED, Verdict.TAMPERED):
        assert is_worth_telling((honest.model_copy(update={"remeasured_by_verdict": {verdict: 1}}),))
