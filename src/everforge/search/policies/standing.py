"""What policies read from the trials: which candidates may be built on, which may be mended, how good each is.

Pure, and shared by every policy, so that none of them builds on a candidate that cheated or was refuted.
"""

import math
from collections.abc import Iterable, Sequence

from everforge.model.candidate import GeneratorKind
from everforge.model.trial import Purpose, Trial
from everforge.model.verdict import Verdict
from everforge.search.disclosure import refutations

# A model that failed to mend a candidate three times over is going in circles.
REPAIRS_IN_A_ROW = 3

_REPAIRABLE = frozenset({Verdict.INCORRECT, Verdict.COMPILE_ERROR, Verdict.CRASH, Verdict.TIMEOUT, Verdict.REJECTED})
# A kernel at a hundredth of the roofline's rate, or a tenth of the baseline's speed, is worth nothing.
_WORTHLESS_SOL = 0.01
_WORTHLESS_SPEEDUP = 0.1


def searched(trials: Iterable[Trial]) -> list[Trial]:
    """Trials of the search with a verdict on the candidate, oldest first; a broken machine judged nobody."""
    return [trial for trial in trials if trial.purpose is Purpose.SEARCH and trial.evaluation.verdict.is_final]


def outcomes(trials: Iterable[Trial]) -> list[Trial]:
    """Trials of the search with a verdict, and re-measurements that failed, oldest first."""
    finished = tuple(trials)
    return sorted([*searched(finished), *refutations(finished)], key=lambda trial: trial.number)


def written(trials: Iterable[Trial]) -> list[Trial]:
    """The outcomes of candidates that a model wrote."""
    return [trial for trial in outcomes(trials) if trial.candidate.generator is GeneratorKind.LLM]


def fit(trials: Iterable[Trial]) -> list[Trial]:
    """The candidates that may be built on: correct, timed, and never refuted; oldest first."""
    finished = tuple(trials)
    refuted = {trial.candidate.digest for trial in refutations(finished)}
    return [t for t in searched(finished) if t.evaluation.speedup is not None and t.candidate.digest not in refuted]


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """The fastest of timed trials; of equals the earliest."""
    return max(trials, key=speed_of, default=None)


def best_trial(trials: Iterable[Trial]) -> Trial | None:
    """The fastest candidate that may be built on, whoever wrote it."""
    return best_of(fit(trials))


def speed_of(trial: Trial) -> float:
    """The speedup; 0 for a trial that was not timed."""
    return trial.evaluation.speedup.value if trial.evaluation.speedup is not None else 0.0


def is_repairable(trial: Trial) -> bool:
    """Whether a failed trial is worth mending; one that cheated is not mended."""
    return trial.evaluation.verdict in _REPAIRABLE


def failures_at_end(attempts: Sequence[Trial]) -> int:
    """How many of the latest attempts failed in a row."""
    count = 0
    for trial in reversed(attempts):
        if trial.evaluation.verdict.is_correct:
            break
        count += 1
    return count


def due_for_repair(attempts: Sequence[Trial]) -> Trial | None:
    """The last attempt where it failed and a few repairs have not been in vain yet."""
    if failures_at_end(attempts) % (REPAIRS_IN_A_ROW + 1) and is_repairable(attempts[-1]):
        return attempts[-1]
    return None


def reward(trial: Trial) -> float:
    """How good a timed trial is, 0 to 1: its share of the roofline's rate on a logarithmic scale.

    Twice as fast is the same gain anywhere on the scale. Where the roofline is not known, the speedup stands in.
    """
    sol = trial.evaluation.sol_fraction
    if sol is not None:
        return _on_scale(sol, _WORTHLESS_SOL, 1.0)
    return _on_scale(speed_of(trial), _WORTHLESS_SPEEDUP, 10.0)


def _on_scale(value: float, least: float, most: float) -> float:
    if value <= least:
        return 0.0
    return min(1.0, math.log(value / least) / math.log(most / least))
