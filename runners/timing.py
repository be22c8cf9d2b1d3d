"""Timing contenders against each other: interleaved rounds, cold cache, fresh inputs, until the interval is tight.

Candidate and baseline live in different processes and take turns, so that clock drift meets both alike.
Called by `baselines.py` and `trial.py`.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from everforge.model.interval import Interval, bootstrap_strata, geometric_mean
from everforge.model.session import EvaluationSettings
from everforge.runners.worker_handle import Worker

# A turn of 4 ms is far above timer resolution and scheduling jitter, and short against clock drift.
_TURN_US = 4000.0
_MOST_ITERATIONS = 20
_PILOT_ITERATIONS = 3


@dataclass
class Contender:
    """A built slot of a worker, and the times of its turns so far."""

    worker: Worker
    slot: str
    sets: tuple[str, ...]
    iterations: int = 1
    calls: int = 0
    rounds_us: list[float] = field(default_factory=list)

    def turn(self, iterations: int, deadline_s: float) -> float:
        """Median time in microseconds of one turn."""
        answer = self.worker.ask(
            {
                "op": "time",
                "slot": self.slot,
                "sets": self.sets,
                "iterations": iterations,
                "turn": self.calls,
            },
            deadline_s=deadline_s,
        )
        self.calls += iterations
        if "failure" in answer:
            raise TurnFailed(answer["failure"])
        times_us = [float(value) for value in answer["times_us"]]
        if len(times_us) != iterations or not all(value > 0 for value in times_us):
            raise TurnFailed({"line": "reported times that cannot be", "traceback": ""})
        return statistics.median(times_us)

    @property
    def median_us(self) -> float:
        """Median over turns."""
        return statistics.median(self.rounds_us)


class TurnFailed(Exception):
    """A contender raised, or reported nonsense, while it was timed."""

    def __init__(self, failure: dict[str, str]) -> None:
        super().__init__(failure["line"])
        self.failure = failure


def race(contenders: Sequence[Contender], settings: EvaluationSettings, deadline_s: float) -> None:
    """Fill each contender's rounds, in turn and in alternating order.

    Stops after `max_rounds`, after `timing_seconds`, or once every ratio to the first contender is known to
    within `interval_width`; never before `min_rounds`.
    """
    for contender in contenders:
        pilot_us = contender.turn(_PILOT_ITERATIONS, deadline_s)
        contender.iterations = max(1, min(_MOST_ITERATIONS, round(_TURN_US / pilot_us)))
    end_s = time.monotonic() + settings.timing_seconds
    for number in range(settings.max_rounds):
        order = contenders if number % 2 == 0 else list(reversed(contenders))
        for contender in order:
            contender.rounds_us.append(contender.turn(contender.iterations, deadline_s))
        if number + 1 >= settings.min_rounds and (time.monotonic() > end_s or _tight(contenders, settings)):
            return


def _tight(contenders: Sequence[Contender], settings: EvaluationSettings) -> bool:
    """Whether the spread of each ratio over rounds puts its median within the wanted interval."""
    first, *others = contenders
    return all(_relative_width(first.rounds_us, other.rounds_us) < settings.interval_width for other in others)


def _relative_width(left: Sequence[float], right: Sequence[float]) -> float:
    ratios = sorted(b / a for a, b in zip(left, right, strict=True))
    low, _, high = statistics.quantiles(ratios, n=4)
    # Standard error of a median is 1.25 standard deviations over √n; an IQR is 1.35 of those; 95 % is ±1.96.
    return float(2 * 1.96 * 1.25 * (high - low) / 1.35 / len(ratios) ** 0.5 / statistics.median(ratios))


@dataclass(frozen=True)
class Pairing:
    """Rounds of candidate and baseline under one variant, with the variant's weight."""

    weight: float
    candidate_us: tuple[float, ...]
    baseline_us: tuple[float, ...]


def speedup_of(pairings: Sequence[Pairing], seed: int) -> Interval:
    """Weighted geometric mean over variants of median baseline over median candidate.

    Rounds are resampled in pairs, so that drift common to a round cancels, and each variant for itself.
    """
    weights = [pairing.weight for pairing in pairings]
    rounds = [list(zip(pairing.candidate_us, pairing.baseline_us, strict=True)) for pairing in pairings]
    return bootstrap_strata(rounds, lambda sample: geometric_mean([_ratio(pairs) for pairs in sample], weights), seed)


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    candidate_us, baseline_us = zip(*pairs, strict=True)
    return float(statistics.median(baseline_us) / statistics.median(candidate_us))
