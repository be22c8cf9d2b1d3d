"""Counts a campaign's trials by who wrote them: the builtin generator, or which model; pure.

`summary.py` puts the result into the campaign's record.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from everforge.model.budget import Spend
from everforge.model.campaign import CampaignRecord
from everforge.model.candidate import GeneratorKind
from everforge.model.tally import Tally
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.history import History

Author = tuple[GeneratorKind, str | None]


def tallies(history: History, wasted: Mapping[str, Spend]) -> tuple[Tally, ...]:
    """One tally for each author in the order first met; `wasted` is what replies without code cost, by model."""
    authored = _by_author(history)
    for model in wasted:
        authored.setdefault((GeneratorKind.LLM, model), [])
    return tuple(_tally(author, trials, history, wasted) for author, trials in authored.items())


def wasted_by_model(record: CampaignRecord | None) -> dict[str, Spend]:
    """What replies without code had cost by the time of a record: where a resumed campaign goes on counting."""
    kept = record.by_generator if record is not None else ()
    return {
        tally.model: Spend(tokens=tally.tokens_without_code, dollars=tally.dollars_without_code)
        for tally in kept
        if tally.model is not None and tally.tokens_without_code
    }


def _by_author(history: History) -> dict[Author, list[Trial]]:
    """Every trial under its author; a re-measurement under that of the trial it repeats."""
    first = {trial.candidate.digest: trial for trial in reversed(history.search_trials)}
    authored: dict[Author, list[Trial]] = {}
    for trial in history.trials:
        searched = first.get(trial.candidate.digest, trial) if trial.purpose is Purpose.CHAMPION else trial
        author = searched.candidate.generator, searched.written_by
        authored.setdefault(author, []).append(trial)
    return authored


def _tally(author: Author, trials: list[Trial], history: History, wasted: Mapping[str, Spend]) -> Tally:
    generator, model = author
    lost = wasted.get(model, Spend()) if model is not None else Spend()
    tried = [t for t in trials if t.purpose is Purpose.SEARCH and not history.is_repeat(t)]
    return Tally(
        generator=generator,
        model=model,
        trials_by_verdict=_counted(tried),
        remeasured_by_verdict=_counted(t for t in trials if t.purpose is Purpose.CHAMPION),
        device_seconds=sum(trial.spend.device_seconds for trial in trials),
        tokens=sum(trial.spend.tokens for trial in trials) + lost.tokens,
        dollars=_dollars(trials, lost),
        tokens_without_code=lost.tokens,
        dollars_without_code=lost.dollars,
    )


def _counted(trials: Iterable[Trial]) -> dict[Verdict, int]:
    counts = Counter(trial.evaluation.verdict for trial in trials)
    return {verdict: counts[verdict] for verdict in Verdict if counts[verdict]}


def _dollars(trials: list[Trial], lost: Spend) -> float | None:
    """What the author's tokens cost, None where a price is missing."""
    prices = [trial.conversation.dollars for trial in trials if trial.conversation is not None]
    if None in prices or (not prices and lost.tokens and not lost.dollars):
        return None
    return sum(trial.spend.dollars for trial in trials) + lost.dollars
