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

# A turn of 4 ms is far above timer resolution and short against clock drift; of a slow contender, 50 ms at most.
_TURN_US = 4e3
_LONGEST_TURN_US = 5e4
_MOST_ITERATIONS = 20
_PILOT_ITERATIONS = 3


@dataclass
class Contender:
    """A built slot of a worker, and the times of its turns so far."""

    worker: Worker
    slot: str
    sets: tuple[str, ...]
    calls: int = 0
    rounds_us: list[float] = field(default_factory=list)

    def turn(self, iterations: int, deadline_s: float) -> list[float]:
        """Times in microseconds of so many calls, after one that is not counted.

        The first call after another process had its turn wakes threads and warms what the flush does not cool.
        """
        count = iterations + 1
        message = {"op": "time", "slot": self.slot, "sets": self.sets, "iterations": count, "turn": self.calls}
        with self.worker.precedence():
            answer = self.worker.ask(message, deadline_s=deadline_s)
        self.calls += count
        if "failure" in answer:
            raise TurnFailed(answer["failure"])
        times_us = [float(value) for value in answer["times_us"]]
        if len(times_us) != count or not all(value > 0 for value in times_us):
            raise TurnFailed({"line": "reported times that cannot be", "traceback": ""})
        return times_us[1:]

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
    iterations = _iterations([min(contender.turn(_PILOT_ITERATIONS, deadline_s)) for contender in contenders])
    end_s = time.monotonic() + settings.timing_seconds
    for number in range(settings.max_rounds):
        order = contenders if number % 2 == 0 else list(reversed(contenders))
        for contender in order:
            contender.rounds_us.append(statistics.median(contender.turn(iterations, deadline_s)))
        if number + 1 >= settings.min_rounds and (time.monotonic() > end_s or _tight(contenders, settings)):
            return


def _iterations(pilots_us: Sequence[float]) -> int:
    """Calls in a turn, the same for all: a median of one call and a median of twenty do not compare."""
    wanted = min(round(_TURN_US / min(pilots_us)), _MOST_ITERATIONS)
    return max(1, min(wanted, int(_LONGEST_TURN_US / max(pilots_us))))


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

    def rounds(self) -> list[tuple[float, float]]:
        """The two times of each round."""
        return list(zip(self.candidate_us, self.baseline_us, strict=True))


def speedup_of(pairings: Sequence[Pairing], seed: int) -> Interval:
    """The speedup and its interval.

    Rounds are resampled in pairs, so that drift common to a round cancels, and each variant for itself.
    """
    weights = [pairing.weight for pairing in pairings]
    rounds = [pairing.rounds() for pairing in pairings]
    return bootstrap_strata(rounds, lambda sample: geometric_mean([_ratio(pairs) for pairs in sample], weights), seed)


def ratio_of(pairings: Sequence[Pairing]) -> float:
    """Weighted geometric mean over variants of median baseline over median candidate."""
    return geometric_mean([_ratio(pairing.rounds()) for pairing in pairings], [pairing.weight for pairing in pairings])


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    candidate_us, baseline_us = zip(*pairs, strict=True)
    return float(statistics.median(baseline_us) / statistics.median(candidate_us))
