"""Whose turn it is on a pool: its claims, Jobs and pods as the limiter of `shares.py` sees them, and what it says.

`claims.py` asks. A runner's slot is taken by the Job or pod that takes it, whatever a status says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from everforge.model.condition import condition_of
from everforge.model.device_pool import DevicePool
from everforge.model.runner_claim import ClaimCondition, RunnerClaim
from everforge.operator.attempts import retry_wait_s
from everforge.operator.claim_ends import end_of
from everforge.operator.observed import Observed
from everforge.operator.settings import Settings
from everforge.operator.shares import Asking, shared_out


@dataclass(frozen=True)
class Turn:
    """What the limiter says of the claims of a pool, by uid; `place` counts from 1.

    `held` are claims whose runner may be using a device, those included that are gone.
    """

    granted: frozenset[str]
    revoked: frozenset[str]
    place: dict[str, int]
    held: frozenset[str]
    runners: int
    next_idle_s: float | None


def queue_of(claim: RunnerClaim, pool: DevicePool | None, observed: Observed) -> str | None:
    """The Kueue queue that the runner of a claim waits in; None where the pool's own limiter decides."""
    owner = observed.owner_of(claim)
    named = owner.spec.queue_name if owner is not None else None
    return named or (pool.spec.queue_name if pool is not None else None)


class Limiter:
    """The limiter of one pool, as seen at one moment; a pool in trouble gives no runner, and takes none back."""

    def __init__(self, name: str, observed: Observed, settings: Settings, now: datetime) -> None:
        self._name, self._observed, self._settings, self._now = name, observed, settings, now
        self._pool = observed.pool(name)
        self._held = self._occupants()

    def turn(self, claims: Sequence[RunnerClaim], in_trouble: bool) -> Turn:
        """Who gets a runner now, whose is taken back, and who waits for how many others."""
        asking = [self._asking(claim) for claim in claims if self._takes_part(claim)]
        others = len(self._held - {ask.uid for ask in asking})
        slots = self._pool.spec.concurrency if self._pool is not None and not in_trouble else 0
        shares = shared_out(asking, slots, others, self._now.timestamp(), _served(claims))
        return Turn(
            granted=frozenset(shares.granted),
            revoked=frozenset() if in_trouble else frozenset(shares.revoked),
            place={uid: place for place, uid in enumerate(shares.waiting, start=1)},
            held=self._held,
            runners=others + sum(ask.held for ask in asking),
            next_idle_s=shares.next_idle_s,
        )

    def _takes_part(self, claim: RunnerClaim) -> bool:
        """Whether the limiter decides about the claim now: not where Kueue does, and not while it asks for nothing."""
        if queue_of(claim, self._pool, self._observed) is not None:
            return False
        if end_of(claim, self._observed, self._settings) is not None:
            return False
        if claim.metadata.uid in self._held:
            return True
        jobs = self._observed.jobs_owned_by(claim.metadata.uid)
        return not claim.spec.idle and retry_wait_s(jobs, self._settings, self._now) <= 0

    def _asking(self, claim: RunnerClaim) -> Asking:
        owner, status = self._observed.owner_of(claim), claim.status
        return Asking(
            uid=claim.metadata.uid or "",
            namespace=claim.metadata.namespace,
            priority=owner.spec.priority if owner is not None else claim.spec.priority,
            asked_s=_seconds(claim.metadata.creation_timestamp) or 0.0,
            held=claim.metadata.uid in self._held,
            held_since_s=_seconds(status.since) if status is not None else None,
            idle_since_s=_seconds(status.idle_since) if status is not None and claim.spec.idle else None,
            idle_seconds=claim.spec.idle_seconds,
        )

    def _occupants(self) -> frozenset[str]:
        """Uids of claims whose runner may use a device of the pool, Kueue's left out; also of claims that are gone."""
        jobs = {
            job.owner_uid or job.uid
            for job in self._observed.jobs
            if job.role == "runner" and job.pool == self._name and not job.finished and job.queue_name is None
        }
        pods = {
            pod.claim_uid or pod.uid
            for pod in self._observed.pods
            if pod.role == "runner" and pod.pool == self._name and pod.occupies and pod.queue_name is None
        }
        return frozenset(jobs | pods)


def _served(claims: Sequence[RunnerClaim]) -> dict[str, float]:
    """Namespace to when a runner of it last came or went, as far as claims tell: the limiter's memory of turns."""
    served: dict[str, float] = {}
    for claim in claims:
        status = claim.status
        bound = condition_of(status.conditions, ClaimCondition.BOUND) if status is not None else None
        if status is not None and status.attempt and bound is not None:
            before = served.get(claim.metadata.namespace, 0.0)
            served[claim.metadata.namespace] = max(before, bound.last_transition_time.timestamp())
    return served


def _seconds(time: datetime | None) -> float | None:
    return time.timestamp() if time is not None else None
