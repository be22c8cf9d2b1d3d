"""Short turns ahead of a race: how long calls take, and how long their launches hold a device up.

Called by `race.py`.
"""

import statistics
from collections.abc import Sequence

from everforge.runners.clock.contender import MOST_AUDITED, Contender, Turn

_CALLS = 3
_CALLS_OF_LONG = 11
# Calls that take this long leave the host more than enough time to launch the next.
_UNHURRIED_US = 2e3
# NVIDIA's driver queues about 1000 launches, of about 5 µs each on the host, and then has the host wait.
_QUEUED_US = 5e3
# A device gets twice the head start that launches were seen to need, and 2 ms for a host that is held up itself.
_LEAD = 2.0
_SPARE_US = 2e3


def pilots_us(contenders: Sequence[Contender], deadline_s: float) -> list[float]:
    """Least time of a call of each. Where launches could hold a device up, all get the slowest's head start."""
    pilots = _pilots(contenders, deadline_s)
    if _may_wait(contenders[0], pilots):
        # The first turn of a process loads what harness and contender need there; these tell what launching takes.
        short, long = (_pilots(contenders, deadline_s, calls) for calls in (_CALLS, _CALLS_OF_LONG))
        launch_us = [max(_slope_us(*turns), 0.0) for turns in zip(short, long, strict=True)]
        _lead(contenders, max(launch_us), max(launch_us))
        pilots = _pilots(contenders, deadline_s)
        waits_us = [us - statistics.fmean(turn.times_us) for us, turn in zip(launch_us, pilots, strict=True)]
        _lead(contenders, max(*waits_us, 0.0), max(launch_us))
    return [_least_us(turn) for turn in pilots]


def _may_wait(contender: Contender, pilots: Sequence[Turn]) -> bool:
    """Whether a device could wait for launches: not the host itself, not one busy with long calls or with outputs of
    which only a few can be kept."""
    is_busy = min(_least_us(turn) for turn in pilots) >= _UNHURRIED_US or contender.course.most_calls <= _CALLS_OF_LONG
    return not contender.host_memory and not is_busy


def _pilots(contenders: Sequence[Contender], deadline_s: float, calls: int = _CALLS) -> list[Turn]:
    return [contender.turn(min(calls, contender.course.most_calls - 1), deadline_s) for contender in contenders]


def _least_us(turn: Turn) -> float:
    return min(turn.counted_us)


def _slope_us(short: Turn, long: Turn) -> float:
    """Time of one call more in a turn, by the parent's clock."""
    return (long.wall_us - short.wall_us) / (len(long.times_us) - len(short.times_us))


def _lead(contenders: Sequence[Contender], wait_us: float, launch_us: float) -> None:
    for contender in contenders:
        contender.lead_us = _LEAD * wait_us
        contender.spare_us = _SPARE_US
        contender.queued = max(1, int(_QUEUED_US / launch_us)) if launch_us > 0 else MOST_AUDITED
