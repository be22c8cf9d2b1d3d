"""What a RunnerClaim's status says: the phase a claim is in, who holds its runner, and why it waits.

`claims.py` finds out how a claim stands; this writes it down, and tells of changes by an Event.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from everforge.model.condition import ConditionStatus, condition_of, with_condition
from everforge.model.runner_claim import ClaimCondition, ClaimPhase, RunnerClaim, RunnerClaimStatus
from everforge.operator.actions import Action, ObjectRef
from everforge.operator.observed import Job, Pod
from everforge.operator.runner_job import PORT
from everforge.operator.writing import event_of, status_patch

# Told as Warnings: somebody must do something, or lost something.
WORRYING = ("Failed", "PoolNotFound", "QuotaExceeded", "PodRefused", "ImagePullFailed", "MountFailed", "RunnerLost")


@dataclass(frozen=True)
class Standing:
    """How a claim stands now; the Job and pod are those of its runner."""

    phase: ClaimPhase
    reason: str
    message: str
    job: Job | None = None
    pod: Pod | None = None


def reference_of(claim: RunnerClaim) -> ObjectRef:
    """The claim as actions name it."""
    return ObjectRef("RunnerClaim", claim.metadata.name, claim.metadata.uid or "", claim.metadata.namespace)


def status_actions(claim: RunnerClaim, standing: Standing, now: datetime) -> Iterator[Action]:
    """The Event of the change, then the status; nothing where it says already what is so.

    Never asked of a finished claim, which stays as it ended.
    """
    before = claim.status
    after = claim_status(claim, standing, now)
    if after == before:
        return
    old = condition_of(before.conditions, ClaimCondition.BOUND) if before is not None else None
    new = condition_of(after.conditions, ClaimCondition.BOUND)
    if new is not None and (old is None or (old.status, old.reason) != (new.status, new.reason)):
        yield event_of(reference_of(claim), old, new, worrying=new.reason in WORRYING)
    yield status_patch(reference_of(claim), after)


def claim_status(claim: RunnerClaim, standing: Standing, now: datetime) -> RunnerClaimStatus:
    """The status as it should read now."""
    before = claim.status or RunnerClaimStatus()
    bound = standing.phase is ClaimPhase.BOUND
    job, pod = standing.job, standing.pod
    same_holder = job is not None and before.holder == job.name
    truth = ConditionStatus.TRUE if bound else ConditionStatus.FALSE
    generation = claim.metadata.generation
    return RunnerClaimStatus(
        observed_generation=generation,
        phase=standing.phase,
        message=standing.message[:4096] or None,
        holder=job.name if job is not None else None,
        node=pod.node if pod is not None and job is not None else None,
        attempt=max(before.attempt, job.attempt if job is not None else 0),
        since=((before.since if same_holder else None) or now) if bound else None,
        idle_since=_idle_since(claim, before, bound, now),
        address=f"http://{_host(pod.address)}:{PORT}" if bound and pod is not None and pod.address else None,
        conditions=with_condition(
            before.conditions, ClaimCondition.BOUND, truth, standing.reason, standing.message, now, generation
        ),
    )


def _idle_since(claim: RunnerClaim, before: RunnerClaimStatus, bound: bool, now: datetime) -> datetime | None:
    if not bound or not claim.spec.idle:
        return None
    return before.idle_since or now


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
