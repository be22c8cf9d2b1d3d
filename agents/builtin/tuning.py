"""Which parameters to try next, by Optuna's tree-structured Parzen estimator; the one file that imports optuna.

`generator.py` calls it. Nothing is kept between calls: the study is built anew from what has been recorded, so a
campaign that was killed goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial

from everforge.model.candidate import ParameterValue

Space = Mapping[str, Sequence[ParameterValue]]
Parameters = dict[str, ParameterValue]

STARTUP_TRIALS = 4  # random ones, less the starts, before the estimator has something to estimate from


@dataclass(frozen=True)
class Tried:
    """A point that was tried: `value` is the logarithm of its speedup, None where it failed."""

    parameters: Parameters
    value: float | None


def next_parameters(
    space: Space, tried: Sequence[Tried], seed: int, starts: Sequence[Mapping[str, ParameterValue]] = ()
) -> Parameters | None:
    """The next point of `space`, never one of `tried`; None when all have been tried.

    The `starts` come first, or the defaults (each parameter's first choice) where there are none. Deterministic in
    its arguments.
    """
    defaults = {name: choices[0] for name, choices in space.items()}
    known = [attempt.parameters for attempt in tried]
    for start in starts or (defaults,):
        if dict(start) not in known:
            return dict(start)
    proposed = _asked(space, tried, seed)
    return proposed if proposed not in known else _nearest_untried(space, tried, defaults)


def _asked(space: Space, tried: Sequence[Tried], seed: int) -> Parameters:
    """What the sampler asks for after everything it has been told."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it reports every study it makes on stderr
    sampler = optuna.samplers.TPESampler(seed=seed + len(tried), n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(list(choices)) for name, choices in space.items()
    }
    for attempt in tried:
        if _inside(space, attempt.parameters):
            study.add_trial(
                create_trial(
                    state=TrialState.FAIL if attempt.value is None else TrialState.COMPLETE,
                    params=dict(attempt.parameters),
                    distributions=distributions,
                    value=attempt.value,
                )
            )
    return dict(study.ask(distributions).params)


def _inside(space: Space, parameters: Parameters) -> bool:
    """Whether a recorded point belongs to this space; an older release may have had another."""
    return parameters.keys() == space.keys() and all(parameters[name] in space[name] for name in space)


def _nearest_untried(space: Space, tried: Sequence[Tried], defaults: Parameters) -> Parameters | None:
    """The first untried point around the best one, changing one parameter, then two, and so on."""
    worked = [attempt for attempt in tried if attempt.value is not None and _inside(space, attempt.parameters)]
    best = max(worked, key=lambda attempt: attempt.value or 0.0).parameters if worked else defaults
    known = {tuple(attempt.parameters.get(name) for name in space) for attempt in tried}
    ring, seen = [best], {tuple(best[name] for name in space)}
    while ring:
        around = []
        for point in ring:
            for name, choices in space.items():
                for choice in choices:
                    moved = {**point, name: choice}
                    key = tuple(moved[parameter] for parameter in space)
                    if key not in known:
                        return moved
                    if key not in seen:
                        seen.add(key)
                        around.append(moved)
        ring = around
    return None
