"""A KernelOptimization: its targets together, its conditions, its end.

`decide.py` calls it. What is found of each target comes from `targets.py`; here it becomes what `kubectl get kopt` and
`kubectl wait` see.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce

from everforge.model.condition import Condition, ConditionStatus, condition_of, with_condition
from everforge.model.kopt_status import (
    KernelOptimizationStatus,
    KoptCondition,
    SpendStatus,
    TargetState,
    TargetStatus,
    TrialCounts,
    lowest_speedup,
)
from everforge.model.manifest import KernelOptimization
from everforge.model.scalars import decimal_text
from everforge.operator.actions import Action, ObjectRef, Requeue
from everforge.operator.attempts import deletions
from everforge.operator.observed import Observed
from everforge.operator.reports import reason_of
from everforge.operator.settings import Settings
from everforge.operator.targets import TargetDecision, Verdict
from everforge.operator.troubles import Trouble
from everforge.operator.writing import event_of, status_patch

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


def reference_of(optimization: KernelOptimization) -> ObjectRef:
    """The object as actions name it."""
    meta = optimization.metadata
    return ObjectRef("KernelOptimization", meta.name, meta.uid or "", meta.namespace)


def is_over(optimization: KernelOptimization) -> bool:
    """Whether it has come to its end, good or bad."""
    conditions = optimization.status.conditions if optimization.status is not None else []
    ended = condition_of(conditions, KoptCondition.SUCCEEDED)
    return ended is not None and ended.status is not UNKNOWN


def optimization_actions(
    optimization: KernelOptimization, observed: Observed, settings: Settings, now: datetime
) -> Iterator[Action]:
    """What to do about an object; one that is being deleted is garbage collection's, with all it owns."""
    if optimization.metadata.deletion_timestamp:
        return
    if is_over(optimization):
        yield from _tidied(optimization, observed, now)
        return
    before = optimization.status or KernelOptimizationStatus()
    rows = {row.device_pool: row for row in before.targets}
    verdicts = [
        TargetDecision(optimization, target, observed, settings, now).decide(rows.get(target.device_pool))
        for target in optimization.spec.targets
    ]
    for verdict in verdicts:
        yield from verdict.actions
    yield from _written(optimization, before, _status(optimization, before, verdicts, observed, now))


def _tidied(optimization: KernelOptimization, observed: Observed, now: datetime) -> Iterator[Action]:
    """After the end: nothing runs on, and Jobs with their logs go when their time has come. The end itself stays."""
    jobs = [job for job in observed.jobs_owned_by(optimization.metadata.uid) if job.role == "agent"]
    status = optimization.status
    ended = status.completion_time if status is not None else None
    left_s = 0.0
    if ended is not None:
        left_s = optimization.spec.retention.ttl_seconds_after_finished - (now - ended).total_seconds()
    yield from deletions(jobs, finished=left_s <= 0, config_map=True)
    if left_s > 0 and jobs:
        yield Requeue(left_s)


def _written(
    optimization: KernelOptimization, before: KernelOptimizationStatus, after: KernelOptimizationStatus
) -> Iterator[Action]:
    """Events of what changed, then the status; nothing where it says already what is so."""
    if after == before:
        return
    for condition in after.conditions:
        old = condition_of(before.conditions, condition.type)
        if (old.status, old.reason) != (condition.status, condition.reason) if old else _is_news(condition):
            yield event_of(reference_of(optimization), old, condition, worrying=_is_worrying(condition))
    yield status_patch(reference_of(optimization), after)


def _is_news(condition: Condition) -> bool:
    """Whether a condition that was never set before is worth an Event."""
    return _is_worrying(condition) or (condition.type == KoptCondition.ACCEPTED and condition.status is YES)


def _is_worrying(condition: Condition) -> bool:
    if condition.status is not NO:
        return False
    if condition.type == KoptCondition.PROGRESSING:
        return condition.reason not in ("Suspended", "Finished")
    return condition.type in (KoptCondition.ACCEPTED, KoptCondition.SUCCEEDED)


def _status(
    optimization: KernelOptimization,
    before: KernelOptimizationStatus,
    verdicts: Sequence[Verdict],
    observed: Observed,
    now: datetime,
) -> KernelOptimizationStatus:
    rows = [verdict.row for verdict in verdicts]
    conditions: list[Condition] = list(before.conditions)
    for found in _findings(optimization, verdicts, observed):
        conditions = with_condition(
            conditions, found.type, found.status, found.reason, found.message, now, optimization.metadata.generation
        )
    starts = [row.start_time for row in rows if row.start_time is not None]
    end = now if all(row.state.is_finished for row in rows) else None
    return KernelOptimizationStatus(
        observed_generation=optimization.metadata.generation,
        conditions=conditions,
        speedup=lowest_speedup(row.champion for row in rows),
        unconfirmed_speedup=lowest_speedup(row.challenger for row in rows),
        trials=reduce(TrialCounts.plus, (row.trials for row in rows)),
        spend=_total([row.spend for row in rows]),
        targets=rows,
        experiment_id=next((v.experiment_id for v in verdicts if v.experiment_id), before.experiment_id),
        # Rows that say they ended and not when they started are another version's; the schema wants a start for an end.
        start_time=min(starts, default=end),
        completion_time=end,
    )


def _findings(optimization: KernelOptimization, verdicts: Sequence[Verdict], observed: Observed) -> Iterator[Finding]:
    rows = [verdict.row for verdict in verdicts]
    troubles = [verdict.trouble for verdict in verdicts if verdict.trouble is not None]
    over = all(row.state.is_finished for row in rows)
    yield _accepted(troubles)
    yield _quota(optimization, observed)
    yield _progressing(optimization, rows, troubles, over)
    yield _improved(rows, over)
    suspended = optimization.spec.suspend and not over
    why = "spec.suspend is true; set it to false to go on" if suspended else "spec.suspend is false"
    yield Finding(KoptCondition.SUSPENDED, YES if suspended else NO, "Suspended" if suspended else "NotSuspended", why)
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


def _total(spends: Sequence[SpendStatus]) -> SpendStatus:
    whole = {
        name: sum(getattr(spend, name) for spend in spends) for name in SpendStatus.model_fields if name != "dollars"
    }
    return SpendStatus(**whole, dollars=decimal_text(sum(float(spend.dollars) for spend in spends)))
