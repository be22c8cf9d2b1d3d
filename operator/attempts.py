"""Attempts of a Job that had to be started again: how they ended, how long to wait, what to take away.

The Jobs themselves are the memory: their names and labels count attempts, and nothing else has to be kept in step.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from everforge.operator.actions import DeleteJob
from everforge.operator.observed import Job, Observed
from everforge.operator.settings import Settings
from everforge.operator.troubles import Ending, ending_of

MAX_WAIT_S = 300.0


def tried(jobs: Sequence[Job], observed: Observed) -> tuple[Ending, ...]:
    """How the attempts that are over ended, the first one first."""
    return tuple(ending_of(job, observed) for job in jobs if job.finished)


def retry_wait_s(jobs: Sequence[Job], settings: Settings, now: datetime) -> float:
    """Seconds until the next attempt: 10, 20, 40, … from the end of the last one; 0 where it may start."""
    finished = [job for job in jobs if job.failed]
    if not finished:
        return 0.0
    ended = max((job.finished_at for job in finished if job.finished_at is not None), default=None)
    if ended is None:
        return 0.0
    pause_s = min(MAX_WAIT_S, settings.retry_delay_s * 2.0 ** (len(finished) - 1))
    return max(0.0, pause_s - (now - ended).total_seconds())


def time_text(now: datetime, after_s: float) -> str:
    """A time to come as messages say it; seconds left would change the status, and so bring it back, for ever."""
    return (now + timedelta(seconds=round(after_s))).strftime("%Y-%m-%dT%H:%M:%SZ")


def deletions(jobs: Sequence[Job], *, finished: bool = False, config_map: bool = False) -> Iterator[DeleteJob]:
    """Deletion of Jobs that still run, and of finished ones where asked for."""
    for job in jobs:
        if not job.deleting and (finished or not job.finished):
            yield DeleteJob(job.namespace, job.name, job.uid, config_map)
