"""The parent's clock held against a candidate's own: what a process says of itself is believed only if both agree.

A candidate shares its process with the code that times it, and could make that code say anything. What it cannot
do is take less time than the parent sees passing. The parent times whole turns; what a turn costs beside its calls
it learns from the baseline, which does the same work around its calls in a trusted process. Pure; called by
`trial_record.py` and `timed_trial.py`.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from everforge.model.interval import Interval, bootstrap
from everforge.runners.clock.contender import Turn

Rounds = Sequence[tuple[Turn, Turn]]

# The two clocks may differ twofold before it is called tampering; below that, the parent's figure is used.
_TOLD_RATIO = 2.0
# Cold calls that are told shorter than warm ones by this factor cannot be.
_COLD_RATIO = 0.6
# Differences below this share of the baseline's time, or this many microseconds, win nothing worth a lie.
_NOTICED_SHARE = 0.25
_NOTICED_US = 20.0
# Replays of one kernel differ by 2 µs from what events tell of single calls, seen on an H200.
_NOTICED_IN_REPLAYS_US = 8.0
# Ceilings are measured with an error; a time may lie so much below a floor, as a share of it.
FLOOR_MARGIN = 0.9
# Below the floor, this much between the clocks is enough.
_FLOOR_RATIO = 1.25
# Waking threads and warming what a flush does not cool makes the first call so many times longer at most.
_COLD_START = 10.0
# Honest contenders' turns differ by a tenth beside their calls; without the flush, by most of it. Between the two
# nobody is convicted, and nobody is faster: on a busy machine a single round differs threefold.
_LEAST_BESIDE = 0.5
_CLEAR_BESIDE = 0.7
_LEAST_FLUSH = 0.3
# A flush below this share of what is done beside a call is lost in that: inputs, which are mixed from three reads and
# a write, are ten times the cache then, and a call that finds some of them there wins a tenth at most.
_NOTICED_FLUSH = 0.1
# A difference of clocks can exceed the time itself where a turn's own cost varies: no less than this share is left.
_LEAST_SHARE = 0.05
_SEED = 0
_BESIDE = "what is done beside each call, the cache's flush above all,"


def seen_us(own: Turn, rival: Turn) -> float:
    """Mean time of one call of a candidate by the parent's clock.

    It is the time told, plus what the turn took beyond that and beyond what the same work around the calls took
    the baseline. Negative differences are noise of the machine and count as such.
    """
    count = len(own.times_us)
    told_us = sum(own.times_us) / count
    unexplained_us = (own.wall_us - sum(own.times_us)) - (rival.wall_us - sum(rival.times_us))
    return max(told_us + unexplained_us / count, _LEAST_SHARE * told_us)


def seen_rounds(rounds: Rounds) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Times of candidate and baseline for each round: the candidate's by the parent's clock."""
    own = tuple(seen_us(turn, rival) for turn, rival in rounds)
    return own, tuple(statistics.fmean(rival.times_us) for _, rival in rounds)


def contradiction(race: Rounds, audited: Rounds, floor_us: float | None) -> str | None:
    """The sentence that convicts a candidate whose own times cannot be; None if they can.

    `floor_us`: time that no kernel can beat which does the task's work (`roofline.py`). A time told below it is
    believed only if the parent saw it, too: then it is a shortcut nobody knew of.
    """
    rival_us = statistics.median(statistics.fmean(rival.times_us) for _, rival in race)
    noticed_us = _NOTICED_SHARE * rival_us + _NOTICED_US
    sentences = [_denied(rounds, noticed_us) for rounds in (race, audited)]
    if all(sentences):  # one of the two alone may be a busy machine's doing
        return sentences[1]
    cold_us = statistics.median(_told_us(turn) for turn, _ in race)
    warm = _median_of([seen_us(turn, rival) for turn, rival in audited])
    if cold_us < _COLD_RATIO * warm.low and warm.low - cold_us > noticed_us:
        return f"{_sentence(cold_us, warm)} with a warm cache"
    seen = _median_of([seen_us(turn, rival) for turn, rival in race])
    if floor_us is not None and cold_us < FLOOR_MARGIN * floor_us < seen.low and seen.low > _FLOOR_RATIO * cold_us:
        return f"{_sentence(cold_us, seen)}; the work takes {floor_us:.3g} µs at least"
    return None


def _denied(rounds: Rounds, noticed_us: float) -> str | None:
    told_us = statistics.median(_told_us(turn) for turn, _ in rounds)
    seen = _median_of([seen_us(turn, rival) for turn, rival in rounds])
    denied = seen.low > _TOLD_RATIO * told_us and seen.low - told_us > noticed_us
    return _sentence(told_us, seen) if denied else None


def _told_us(turn: Turn) -> float:
    """Mean time told, the first call's no more than a cold start makes it: a turn's work done ahead in that call,
    which does not count, is seen and not told."""
    counted_us = statistics.fmean(turn.counted_us)
    first_us = min(turn.times_us[0], _COLD_START * counted_us)
    return (first_us + sum(turn.counted_us)) / len(turn.times_us)


def unflushed(race: Rounds) -> str | None:
    """The sentence that convicts a candidate whose turns leave out what is done beside its calls; None otherwise."""
    own_us, rival_us = ([beside_us(turn) for turn in turns] for turns in zip(*race, strict=True))
    shares = sorted(own / rival for own, rival in zip(own_us, rival_us, strict=True))
    # Other work on the machine only adds: the least of either is what it takes, and most rounds agree.
    if max(min(own_us) / min(rival_us), shares[3 * len(shares) // 4]) >= _LEAST_BESIDE:
        return None
    return f"{_BESIDE} took {statistics.median(shares):.0%} of what it takes"


def unflushed_on_device(race: Rounds, audited: Rounds) -> str | None:
    """The same for a device of its own, where a turn has a head start, too, and costs as much beside the flush.

    What the flush takes is the difference between turns with it and without (`audited`).
    """
    own, rival = (_flush_us(race, audited, index) for index in (0, 1))
    least_us = max(_NOTICED_US, _NOTICED_FLUSH * statistics.median(_beside_call_us(turn) for _, turn in race))
    if rival.low < least_us or own.high > _LEAST_FLUSH * rival.low:
        return None
    return f"the cache's flush took {own.value:.3g} µs a call, and {rival.value:.3g} µs in the baseline's process"


class _Difference(NamedTuple):
    """Of two medians, with its bounds from their quartiles."""

    low: float
    value: float
    high: float


def _flush_us(race: Rounds, audited: Rounds, index: int) -> _Difference:
    """Within quartiles: where inputs take a millisecond to make, turns differ by more than a flush takes."""
    cold, warm = (
        statistics.quantiles([_beside_call_us(pair[index]) for pair in rounds], n=4) for rounds in (race, audited)
    )
    return _Difference(cold[0] - warm[2], cold[1] - warm[1], cold[2] - warm[0])


def _beside_call_us(turn: Turn) -> float:
    return beside_us(turn) / len(turn.times_us)


def replay_contradiction(race: Rounds, replayed_us: Sequence[float]) -> str | None:
    """The sentence that convicts a candidate whose calls take far longer when they are replayed as a device graph,
    by the parent's clock (`replays.py`), than its process told of calls one by one; None otherwise."""
    told_us, seen = statistics.median(_told_us(turn) for turn, _ in race), _median_of(replayed_us)
    if seen.low <= _TOLD_RATIO * told_us or seen.low - told_us <= _NOTICED_IN_REPLAYS_US:
        return None
    return f"{_sentence(told_us, seen)} over replays of a device graph"


def hardly_flushed(race: Rounds) -> str | None:
    """Why turns leave a doubt that all was done beside their calls, for devices on the host; None if they do not."""
    share = statistics.median(beside_us(own) / beside_us(rival) for own, rival in race)
    return f"{_BESIDE} took {share:.0%} of the baseline's" if share < _CLEAR_BESIDE else None


def beside_us(turn: Turn) -> float:
    """What a turn took beside its calls and the head start; at least a microsecond."""
    return max(turn.wall_us - turn.head_start_us - sum(turn.times_us), 1.0)


def _median_of(values: Sequence[float]) -> Interval:
    return bootstrap(values, statistics.median, _SEED)


def _sentence(told_us: float, seen: Interval) -> str:
    return f"its process told {told_us:.3g} µs a call, the harness's own clock saw {seen.value:.3g} µs"
