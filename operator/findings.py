"""What holds of a KernelOptimization: its conditions, each with a reason for programs and a sentence for people.

`optimizations.py` writes them into the status. Every condition is found anew each time, so it goes with its cause.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from everforge.model.condition import ConditionStatus
from everforge.model.kopt_status import KoptCondition, TargetState, TargetStatus
from everforge.model.manifest import KernelOptimization
from everforge.operator.observed import Observed
from everforge.operator.reports import reason_of
from everforge.operator.targets import Verdict
from everforge.operator.troubles import Trouble

# Troubles that the object's author, not the cluster, has to mend before it is accepted.
UNACCEPTED = ("PoolNotFound", "SecretNotFound", "ConfigMapNotFound")
YES, NO, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


@dataclass(frozen=True)
class Finding:
    """What holds of one condition type now."""

    type: KoptCondition
    status: ConditionStatus
    reason: str
    message: str = ""


def findings(optimization: KernelOptimization, verdicts: Sequence[Verdict], observed: Observed) -> Iterator[Finding]:
    """What holds of every condition of a KernelOptimization, given what was found of its targets."""
    rows = [verdict.row for verdict in verdicts]
    troubles = [verdict.trouble for verdict in verdicts if verdict.trouble is not None]
    over = all(row.state.is_finished for row in rows)
    yield _accepted(troubles)
    yield _quota(optimization, observed)
    yield _progressing(optimization, rows, troubles, over)
    yield _improved(rows, over)
    yield _suspended(optimization, over)
    yield _succeeded(rows, over)


def _accepted(troubles: Sequence[Trouble]) -> Finding:
    for trouble in troubles:
        if trouble.reason in UNACCEPTED:
            return Finding(KoptCondition.ACCEPTED, NO, trouble.reason, trouble.message)
    return Finding(KoptCondition.ACCEPTED, YES, "Valid", "pools, Secret and ConfigMap are there")


def _quota(optimization: KernelOptimization, observed: Observed) -> Finding:
    """What Kueue says of the runners: their Jobs are suspended until it admits them."""
    if optimization.spec.queue_name is None:
        why = "no queueName is set: runners take turns within the concurrency of their pool"
        return Finding(KoptCondition.QUOTA_RESERVED, UNKNOWN, "NotQueued", why)
    queued = [job for job in observed.jobs if job.role == "runner" and job.queue_name and not job.finished]
    if waiting := [job.name for job in queued if job.suspended]:
        why = f"Job {waiting[0]} waits in Kueue's queue {optimization.spec.queue_name}"
        return Finding(KoptCondition.QUOTA_RESERVED, NO, "Queued", why)
    if queued:
        return Finding(KoptCondition.QUOTA_RESERVED, YES, "Admitted", "Kueue admitted the runners")
    return Finding(KoptCondition.QUOTA_RESERVED, UNKNOWN, "NoRunner", "no runner is asked for just now")


def _progressing(
    optimization: KernelOptimization, rows: Sequence[TargetStatus], troubles: Sequence[Trouble], over: bool
) -> Finding:
    if over:
        return Finding(KoptCondition.PROGRESSING, NO, "Finished", "every target has ended")
    if optimization.spec.suspend:
        return Finding(KoptCondition.PROGRESSING, NO, "Suspended", "spec.suspend is true")
    if troubles:
        return Finding(KoptCondition.PROGRESSING, NO, troubles[0].reason, troubles[0].message)
    if any(row.state is TargetState.RUNNING for row in rows):
        return Finding(KoptCondition.PROGRESSING, YES, "Running", "agents are at work")
    return Finding(KoptCondition.PROGRESSING, YES, "Starting", "agents are starting")


def _suspended(optimization: KernelOptimization, over: bool) -> Finding:
    if optimization.spec.suspend and not over:
        return Finding(KoptCondition.SUSPENDED, YES, "Suspended", "spec.suspend is true; set it to false to go on")
    return Finding(KoptCondition.SUSPENDED, NO, "NotSuspended", "spec.suspend is false")


def _improved(rows: Sequence[TargetStatus], over: bool) -> Finding:
    champions = [row.device_pool for row in rows if row.champion is not None]
    if champions:
        why = f"a faster kernel was verified on {', '.join(champions)}"
        return Finding(KoptCondition.IMPROVED, YES, "FasterVerified", why)
    if over:
        return Finding(KoptCondition.IMPROVED, NO, "NoFasterKernel", "no candidate was faster than every baseline")
    return Finding(KoptCondition.IMPROVED, UNKNOWN, "NotKnown", "no candidate was confirmed as faster yet")


def _succeeded(rows: Sequence[TargetStatus], over: bool) -> Finding:
    if not over:
        return Finding(KoptCondition.SUCCEEDED, UNKNOWN, "NotFinished", "the search goes on")
    failed = [row for row in rows if row.state is TargetState.FAILED]
    told = failed or rows
    reasons = {reason_of(row) for row in told}
    message = "; ".join(f"{row.device_pool}: {row.message}" for row in told)
    reason = reasons.pop() if len(reasons) == 1 else ("Failed" if failed else "TargetsFinished")
    return Finding(KoptCondition.SUCCEEDED, NO if failed else YES, reason, message)
