"""Good reasons to stop before the budget is spent, each only where the manifest asks for it; pure.

`decision.py` asks here: whether a champion is as close to the speed of light as is wanted, which trial may be, and
whether the search has stood still for too long.
"""

from everforge.model.search_settings import Plateau
from everforge.model.trial import Trial
from everforge.search.disclosure import refutations
from everforge.search.history import History, speedup_of


def reaches(trial: Trial, speedup: float | None, sol_fraction: float | None) -> bool:
    """Whether a timed trial was measured at one of the goals, of which either may be absent."""
    light = trial.evaluation.sol_fraction
    is_close = sol_fraction is not None and light is not None and light >= sol_fraction
    return is_close or (speedup is not None and speedup_of(trial) >= speedup)


def standstill(history: History, plateau: Plateau) -> str | None:
    """Why the search counts as standing still, None while it gets on.

    Counted are judged candidates since one of them was the first to be `percent` faster than the one counted from
    before. A search without any correct candidate has not begun to climb, and a refuted speedup was none.
    """
    refuted = {trial.candidate.digest for trial in refutations(history.trials)}
    least, since, first = 1 + plateau.percent / 100, 0, True
    level = 0.0
    for digest, trial in history.judged.items():
        speedup = trial.evaluation.speedup
        if speedup is not None and digest not in refuted and (first or speedup.value >= level * least):
            level, since, first = speedup.value, 0, False
        else:
            since += 1
    if first or since < plateau.trials:
        return None
    return f"{since} candidates in a row were not {plateau.percent:g} % faster than {level:.2f}x"
