"""Runs policies over landscapes, many times each, and says how good the best kernel was after how much of a spend.

`comparison.py` calls `courses`, `band` and `advantage`. A repeat has a seed of its own, the same for every policy.
"""

import math
import random
import statistics
from collections.abc import Iterator, Sequence
from enum import StrEnum

from everforge.model.base import Record
from everforge.model.budget import Spend
from everforge.model.candidate import Candidate
from everforge.model.device import DeviceKind, Environment
from everforge.model.evaluation import Evaluation
from everforge.model.interval import Interval, bootstrap
from everforge.model.search_settings import PolicyKind
from everforge.model.trial import Purpose, Trial, trial_id_of
from everforge.model.verdict import Verdict
from everforge.search.policies.base import Plan, Policy, asks
from everforge.search.policies.chosen import policy_of
from everforge.search.policies.standing import speed_of
from everforge.search.simulated.author import Answer, answer
from everforge.search.simulated.landscape import BEST_SOL, Landscape, taken_by
from everforge.search.simulated.landscapes import landscape_of

# An interval of the evaluator on a quiet device is about 2 % wide: 95 % of measurements lie within it.
_NOISE_SIGMA = 0.005
_HALF_WIDTH = 0.01
# What a trial holds the device for, by the campaigns of docs/measurements.md: broken code ends early.
_WORKING_DEVICE_S = 20.0
_BROKEN_DEVICE_S = 4.0


class Axis(StrEnum):
    """What is spent."""

    TRIALS = "trials"
    DOLLARS = "dollars"
    DEVICE_SECONDS = "device_seconds"


class Step(Record):
    """Where a search stands after a trial: the true speedup of what it measured as fastest.

    A campaign that finds nothing faster keeps the baseline, whose speedup is 1.
    """

    spent: Spend
    best: float


class Course(Record):
    """One search of one policy on one landscape."""

    landscape: str
    policy: PolicyKind
    repeat: int
    steps: tuple[Step, ...]

    def best_at(self, axis: Axis, spent: float) -> float:
        """The best speedup once so much was spent."""
        reached = [step.best for step in self.steps if getattr(step.spent, axis) <= spent + 1e-9]
        return reached[-1] if reached else 1.0


def courses(name: str, kind: PolicyKind, repeats: int, trials: int, in_flight: int = 1) -> Iterator[Course]:
    """Every repeat of a policy on the landscape of a name."""
    for repeat in range(repeats):
        landscape = landscape_of(name, repeat)
        recorded = search(landscape, policy_of(kind), repeat, trials, in_flight)
        yield Course(landscape=name, policy=kind, repeat=repeat, steps=_steps(landscape, recorded))


def search(landscape: Landscape, policy: Policy, seed: int, trials: int, in_flight: int = 1) -> tuple[Trial, ...]:
    """The trials of one search that keeps `in_flight` asks waiting; the oldest is answered first.

    The model answers from what was recorded when it was asked, as a prompt does.
    """
    recorded: tuple[Trial, ...] = ()
    waiting: list[tuple[Plan, tuple[Trial, ...]]] = []
    while len(recorded) < trials:
        plans = [plan for plan, _ in waiting]
        room = min(in_flight, trials - len(recorded))
        waiting += [(plan, recorded) for plan in asks(policy, recorded, plans, seed, room)]
        plan, seen = waiting.pop(0)
        rng = random.Random(f"{landscape.name}/{seed}/{plan.number}")
        given = answer(landscape, plan, seen, rng)
        recorded = (*recorded, _trial(landscape, given, len(recorded), rng))
    return recorded


def band(group: Sequence[Course], axis: Axis, spent: float) -> Interval:
    """The geometric mean of the repeats' best speedups once so much was spent, with its 95 % interval."""
    return _geometric([math.log(course.best_at(axis, spent)) for course in group])


def advantage(group: Sequence[Course], over: Sequence[Course], axis: Axis, spent: float) -> Interval:
    """How many times as fast as another policy's the best kernels are: geometric mean, repeat against repeat."""
    pairs = zip(group, over, strict=True)
    return _geometric([math.log(mine.best_at(axis, spent) / other.best_at(axis, spent)) for mine, other in pairs])


def _geometric(logarithms: Sequence[float]) -> Interval:
    found = bootstrap(logarithms, statistics.fmean, seed=0)
    return Interval(value=math.exp(found.value), low=math.exp(found.low), high=math.exp(found.high))


def _steps(landscape: Landscape, recorded: Sequence[Trial]) -> tuple[Step, ...]:
    steps: list[Step] = []
    spent, measured, best = Spend(), 1.0, 1.0
    for trial in recorded:
        spent = spent.plus(trial.spend)
        if speed_of(trial) > measured:
            measured, best = speed_of(trial), landscape.speedup(taken_by(trial.candidate.source))
        steps.append(Step(spent=spent, best=best))
    return tuple(steps)


def _trial(landscape: Landscape, given: Answer, number: int, rng: random.Random) -> Trial:
    evaluation = _evaluation(landscape, given.candidate, given.works, rng)
    return Trial(
        trial_id=trial_id_of(landscape.name, number, Purpose.SEARCH, given.candidate.digest),
        campaign_id=landscape.name,
        number=number,
        candidate=given.candidate,
        evaluation=evaluation,
        spend=Spend(trials=1, device_seconds=evaluation.device_seconds, dollars=given.dollars),
        finished_at_s=float(number),
    )


def _evaluation(landscape: Landscape, judged: Candidate, works: bool, rng: random.Random) -> Evaluation:
    common = {"environment": _ENVIRONMENT, "task_digest": landscape.name, "candidate_digest": judged.digest}
    if not works:
        broken = {"verdict": Verdict.INCORRECT, "reason": "the simulated code is broken"}
        return Evaluation(**broken, **common, device_seconds=_BROKEN_DEVICE_S)
    true = landscape.speedup(taken_by(judged.source))
    value = true * rng.lognormvariate(0.0, _NOISE_SIGMA)
    return Evaluation(
        verdict=Verdict.FASTER if value > 1 + _HALF_WIDTH else Verdict.SLOWER,
        reason=f"{value:.2f} times the baseline",
        speedup=Interval(value=value, low=value * (1 - _HALF_WIDTH), high=value * (1 + _HALF_WIDTH)),
        sol_fraction=BEST_SOL * value / landscape.best,
        **common,
        device_seconds=_WORKING_DEVICE_S,
    )


_ENVIRONMENT = Environment(
    device=DeviceKind.CPU,
    device_name="simulated",
    architecture="none",
    driver=None,
    toolchain={},
    host="none",
    system="none",
    cores=1,
    memory_bytes=0,
    isolation=(),
)
