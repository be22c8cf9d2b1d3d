"""What the next request to the model is for: a first candidate, a repair, or a faster one. Pure.

The functional pass comes first: a candidate that failed is repaired, a few times; what works is optimised. One
that failed only when it was re-measured, on shapes it had not been shown, has failed like any other. One that
cheated is not mended: the model is told that it was caught, and starts from what is honest.
"""

from collections.abc import Iterable
from enum import StrEnum

from everforge.model.base import Record
from everforge.model.candidate import GeneratorKind
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.disclosure import refutations

# A model that failed to mend a candidate three times over is going in circles; it starts from the best again.
REPAIRS_IN_A_ROW = 3

_REPAIRABLE = frozenset({Verdict.INCORRECT, Verdict.COMPILE_ERROR, Verdict.CRASH, Verdict.TIMEOUT, Verdict.REJECTED})


class Aim(StrEnum):
    """What is asked of the model."""

    WRITE = "write"
    REPAIR = "repair"
    OPTIMISE = "optimise"


class Move(Record):
    """The aim, and the trials it works from; `caught` is the model's last one where that cheated."""

    aim: Aim
    failed: Trial | None = None
    caught: Trial | None = None
    best: Trial | None = None

    @property
    def parent(self) -> Trial | None:
        """The trial whose candidate the next one derives from."""
        return self.failed or self.best


def next_move(trials: Iterable[Trial]) -> Move:
    """The move that follows from the finished trials."""
    finished = tuple(trials)
    best = best_trial(finished)
    written = [trial for trial in outcomes(finished) if trial.candidate.generator is GeneratorKind.LLM]
    failures = _failures_at_end(written)
    if failures % (REPAIRS_IN_A_ROW + 1) and written[-1].evaluation.verdict in _REPAIRABLE:
        return Move(aim=Aim.REPAIR, failed=written[-1], best=best)
    caught = written[-1] if written and written[-1].evaluation.verdict is Verdict.TAMPERED else None
    return Move(aim=Aim.WRITE if best is None else Aim.OPTIMISE, caught=caught, best=best)


def searched(trials: Iterable[Trial]) -> list[Trial]:
    """Trials of the search with a verdict on the candidate, oldest first; a broken machine judged nobody."""
    return [trial for trial in trials if trial.purpose is Purpose.SEARCH and trial.evaluation.verdict.is_final]


def outcomes(trials: Iterable[Trial]) -> list[Trial]:
    """Trials of the search with a verdict, and re-measurements that failed, oldest first."""
    finished = tuple(trials)
    return sorted([*searched(finished), *refutations(finished)], key=lambda trial: trial.number)


def best_trial(trials: tuple[Trial, ...]) -> Trial | None:
    """The fastest correct candidate so far, whoever wrote it; of equals the earliest."""
    wrong = {trial.candidate.digest for trial in refutations(trials)}
    timed = [trial for trial in searched(trials) if trial.candidate.digest not in wrong]
    return max((trial for trial in timed if trial.evaluation.speedup), key=_speedup, default=None)


def _speedup(trial: Trial) -> float:
    return trial.evaluation.speedup.value if trial.evaluation.speedup is not None else 0.0


def _failures_at_end(written: list[Trial]) -> int:
    count = 0
    for trial in reversed(written):
        if trial.evaluation.verdict.is_correct:
            break
        count += 1
    return count
