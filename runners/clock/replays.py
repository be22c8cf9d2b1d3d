"""Candidate and baseline replayed as device graphs, by the parent's clock alone.

A turn's own cost varies by 200 µs on a GPU, which is more than twenty calls of a decode kernel take. In a graph
hundreds of calls follow one another without the host, so that the parent sees what one takes to within a microsecond.
Outputs are compared with the truth as those of timed calls are. Called by `timed_trial.py` after all races: a call
that cannot be captured may leave its process unusable, which is not held against it. What was seen confirms a speedup,
or contradicts what the candidate's process told (`clock_check.py`).
"""

from collections.abc import Callable
from typing import TypeVar

from everforge.runners.clock.contender import Contender, Launches, Turn
from everforge.runners.clock.witness import Witness

# 300 calls a round: a turn's 200 µs are less than a microsecond of each.
_CALLS = 20
_TIMES = 15
_ROUNDS = 8
# The parent follows longer calls closely enough in ordinary turns.
_SHORT_US = 100.0
_LEAST_SHARE = 0.05

T = TypeVar("T")
Replays = tuple[tuple[float, float], ...]


def replays(
    own: Contender, rival: Contender, told: tuple[Launches, Launches], witness: Witness, deadline_s: float
) -> Replays | None:
    """Times of one call of candidate and baseline in each round; None where it is not needed or cannot be told.

    The baseline's is what its own process tells of replays from a cold cache (`told`); the candidate's differs from
    it by what the parent saw. Raises what a turn raises.
    """
    own_us, rival_us = (launches.replay_us for launches in told)
    if own_us is None or rival_us is None or own.host_memory or own.course.changed:
        return None
    if not are_short(own, rival):
        return None
    calls = min(_CALLS, own.course.most_calls)
    if not own.capture(calls, deadline_s) or not _beside(own, lambda: rival.capture(calls, deadline_s)):
        return None
    pairs = [
        (own.replays(calls, _TIMES, deadline_s), _beside(own, lambda: rival.replays(calls, _TIMES, deadline_s)))
        for _ in range(_ROUNDS + 1)
    ]
    witness.see(pairs[-1][0])
    if any(finding.detail is not None for _, finding in witness.findings()):
        return None
    return tuple((max(rival_us + _difference_us(*pair), _LEAST_SHARE * own_us), rival_us) for pair in pairs[1:])


def are_short(own: Contender, rival: Contender) -> bool:
    """Whether calls are too short for the parent's clock to follow them in ordinary turns."""
    return min(own.median_us, rival.median_us) <= _SHORT_US


def _beside(own: Contender, do: Callable[[], T]) -> T:
    """Do something of another contender while the candidate stands still."""
    with own.worker.frozen():
        return do()


def _difference_us(own: Turn, rival: Turn) -> float:
    return (own.wall_us - rival.wall_us) / (len(own.times_us) * _TIMES)
