"""The books of a sitting: whose tokens were spent, and what a generator is told next."""

from everforge.agents.ledger import Ledger
from everforge.model.budget import Spend
from everforge.model.campaign import CampaignSpec, CampaignState, ModelSettings
from everforge.model.candidate import GeneratorKind
from everforge.model.evaluation import VariantResult
from everforge.model.trial import Purpose
from everforge.model.verdict import Verdict
from everforge.search.events import ignore
from everforge.store.memory import MemoryStore
from everforge.testing import samples
from everforge.testing.fakes import FakeClock


def spec_of(model: str) -> CampaignSpec:
    return samples.campaign_spec().model_copy(update={"model": ModelSettings(model=model)})


def sitting(store: MemoryStore, model: str = "openai/one") -> Ledger:
    return Ledger(spec_of(model), store, samples.task_facts(), FakeClock(), 0.0, ignore)


def test_replies_without_code_are_counted_for_the_model_of_their_sitting() -> None:
    store = MemoryStore()
    sitting(store).waste(GeneratorKind.LLM, Spend(tokens=100, dollars=0.1))
    second = sitting(store, "openai/two")
    second.waste(GeneratorKind.LLM, Spend(tokens=10, dollars=0.2))
    record = second.save(CampaignState.RUNNING)
    assert {tally.model: (tally.tokens, tally.dollars) for tally in record.by_generator} == {
        "openai/one": (100, 0.1),
        "openai/two": (10, 0.2),
    }
    assert record.spend.tokens == 110


def test_baselines_are_nobodys_cost() -> None:
    assert sitting(MemoryStore()).save(CampaignState.RUNNING).by_generator == ()


def test_failed_re_measurement_goes_back_to_the_generators_without_its_shapes() -> None:
    ledger = sitting(MemoryStore())
    proposed = samples.candidate(generator=GeneratorKind.LLM)
    hidden = VariantResult(name="decode", held_out=True, correct=False, detail="row 31337")
    refuted = samples.evaluation(Verdict.INCORRECT, judged=proposed).model_copy(update={"variants": (hidden,)})
    ledger.keep(proposed, Purpose.SEARCH, samples.evaluation(judged=proposed), None, Spend(trials=1))
    ledger.keep(proposed, Purpose.CHAMPION, refuted, None, Spend())
    told = ledger.context.trials
    assert [trial.evaluation.verdict for trial in told] == [Verdict.FASTER, Verdict.INCORRECT]
    assert "31337" not in told[1].model_dump_json()
