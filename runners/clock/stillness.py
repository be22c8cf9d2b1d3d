"""Whether a process rests while nothing is asked of it: threads that work on are there for no honest reason.

They would compute ahead, or take a core from whoever is timed next. Called by `timed_trial.py`, with the parent's own
work in between.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from everforge.runners.isolation.worker_handle import Worker

# So long a candidate is watched at least, and so much of it may be busy: threads that wait for each other by spinning
# stop within milliseconds. The kernel counts in steps of 10 ms.
_WATCHED_S = 0.3
_BUSY_SHARE = 0.2
_BUSY_S = 0.06
# One that was busy is watched for 2.4 s more. What a compiler started in the background comes to an end, and a thread
# that is held up by other work on the machine never rests.
_MORE = 8
_RESTING_S = 0.01


class Restless(Exception):
    """A process worked while nothing was asked of it; the message is the evidence."""


@contextmanager
def at_rest(worker: Worker) -> Iterator[None]:
    """Nothing is asked of the worker inside. Raises Restless at the end if its threads do not come to rest."""
    began_s, used_s = time.monotonic(), worker.cpu_seconds()
    yield
    time.sleep(max(0.0, _WATCHED_S - (time.monotonic() - began_s)))
    if _is_busy(worker.cpu_seconds() - used_s, time.monotonic() - began_s) and not _comes_to_rest(worker):
        used_s, watched_s = worker.cpu_seconds() - used_s, time.monotonic() - began_s
        if _is_busy(used_s, watched_s):
            raise Restless(f"its threads ran for {used_s:.2f} s of {watched_s:.2f} s in which nothing was asked")


def _is_busy(used_s: float, watched_s: float) -> bool:
    return used_s > max(_BUSY_SHARE * watched_s, _BUSY_S)


def _comes_to_rest(worker: Worker) -> bool:
    for _ in range(_MORE):
        used_s = worker.cpu_seconds()
        time.sleep(_WATCHED_S)
        if worker.cpu_seconds() - used_s <= _RESTING_S:
            return True
    return False
