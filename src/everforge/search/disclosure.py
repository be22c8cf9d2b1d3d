"""What a generator may learn of a trial: everything of the search, and of a failed re-measurement that it failed.

A re-measurement runs on shapes no generator may know, so of one that failed its verdict is told and, in words
that fit every task, why; unless it failed on a shape that was shown. `agents/ledger.py` asks here for the trials
of a context, and `SearchContext` passes every trial through `disclosed`, whoever made it.
"""

from collections.abc import Iterable

from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.history import History

# The words of the evaluator for a candidate that fits the shapes it was shown and no others.
WRONG_ON_HELD_OUT = "correct on the shapes it was shown, wrong on one it was not"
CAUGHT_LATER = "caught cheating when it was measured again in a fresh process, on inputs it had not seen"


def told_to_generators(history: History) -> tuple[Trial, ...]:
    """The trials a generator may learn from, in order: those of the search, and re-measurements that failed."""
    shown = {trial.trial_id: trial for trial in history.shown_to_generators()}
    told = shown | {trial.trial_id: disclosed(trial) for trial in refutations(history.trials)}
    return tuple(sorted(told.values(), key=lambda trial: trial.number))


def refutations(trials: Iterable[Trial]) -> list[Trial]:
    """Re-measurements that found a candidate wrong on shapes and seeds nobody saw, or caught it cheating."""
    remeasured = [trial for trial in trials if trial.purpose is Purpose.CHAMPION]
    return [t for t in remeasured if t.evaluation.verdict.is_final and not t.evaluation.verdict.is_correct]


def disclosed(trial: Trial) -> Trial:
    """The trial without anything that was measured on held-out shapes; the same trial where nothing was."""
    if trial.purpose is not Purpose.CHAMPION:
        return trial
    judged = trial.evaluation
    shown = tuple(result for result in judged.variants if not result.held_out)
    failed_on_shown = any(not result.correct for result in shown)
    told = {
        "reason": judged.reason if failed_on_shown or judged.verdict.is_correct else _reason(judged.verdict),
        "variants": shown,
        "diagnostics": None,
        "evidence": (),
    }
    return trial.model_copy(update={"evaluation": judged.model_copy(update=told)})


def _reason(verdict: Verdict) -> str:
    if verdict is Verdict.INCORRECT:
        return WRONG_ON_HELD_OUT
    if verdict is Verdict.TAMPERED:
        return CAUGHT_LATER
    return f"worked on the shapes it was shown; measured again, on others too, it ended as {verdict}"
