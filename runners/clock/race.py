"""Timing contenders against each other: interleaved rounds, cold cache, fresh inputs, until the interval is tight.

Candidate and baseline live in different processes and take turns, so that clock drift meets both alike; a candidate
is stopped while others have their turn. Called by `baselines.py` and `timed_trial.py`.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from everforge.model.interval import Interval, bootstrap_strata, geometric_mean
from everforge.model.session import EvaluationSettings
from everforge.runners.clock.contender import MOST_AUDITED, MOST_RACED, Contender, Turn
from everforge.runners.clock.pilot import pilots_us

# A turn of 4 ms is far above timer resolution and short against clock drift; of a slow contender, 50 ms at most.
_TURN_US = 4e3
_LONGEST_TURN_US = 5e4
# Turns without a flush, for the parent's clock: longer, since a turn's own cost is all that blurs them.
_AUDIT_ROUNDS = 8
_AUDIT_TURN_US = 1e4


def race(contenders: Sequence[Contender], settings: EvaluationSettings, deadline_s: float) -> None:
    """Fill each contender's turns, one after another and in alternating order.

    Stops after `max_rounds`, after `timing_seconds`, or once every ratio to the first contender is known to
    within `interval_width`; never before `min_rounds`.
    """
    for contender in contenders:
        contender.prepare(deadline_s)
    iterations = min(_iterations(pilots_us(contenders, deadline_s)), contenders[0].most_calls)
    end_s = time.monotonic() + settings.timing_seconds
    for number in range(settings.max_rounds):
        order = contenders if number % 2 == 0 else list(reversed(contenders))
        for contender in order:
            contender.turns.append(_turn(contender, contenders[0], iterations, deadline_s))
        if number + 1 >= settings.min_rounds and (time.monotonic() > end_s or _tight(contenders, settings)):
            return


def audit(own: Contender, rival: Contender, deadline_s: float) -> list[tuple[Turn, Turn]]:
    """Turns of both without a flush, which the parent's clock can follow closely. After a race."""
    shortest_us = min(own.median_us, rival.median_us)
    wanted = min(max(int(_AUDIT_TURN_US / shortest_us), 1), MOST_AUDITED, own.most_calls)
    iterations = max(1, min(wanted, int(_LONGEST_TURN_US / max(own.median_us, rival.median_us))))
    rounds = [
        (own.turn(iterations, deadline_s, flush=False), _turn(rival, own, iterations, deadline_s, flush=False))
        for _ in range(_AUDIT_ROUNDS + 1)
    ]
    return rounds[1:]  # the first meets memory for outputs that no turn has touched before


def _turn(contender: Contender, first: Contender, iterations: int, deadline_s: float, *, flush: bool = True) -> Turn:
    """A turn; while it is another's, the first contender, which may be hostile, stands still."""
    if contender is first:
        return contender.turn(iterations, deadline_s, flush=flush)
    with first.worker.frozen():
        return contender.turn(iterations, deadline_s, flush=flush)


def _iterations(times_us: Sequence[float]) -> int:
    """Calls in a turn, the same for all: a median of one call and a median of twenty do not compare."""
    wanted = min(round(_TURN_US / min(times_us)), MOST_RACED)
    return max(1, min(wanted, int(_LONGEST_TURN_US / max(times_us))))


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
