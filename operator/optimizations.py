"""A KernelOptimization: its targets together, its status, its end.

`decide.py` calls it. What is found of each target comes from `targets.py`, conditions from `findings.py`; here they
become what `kubectl get kopt` and `kubectl wait` see.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import reduce

from everforge.model.condition import Condition, ConditionStatus, condition_of, with_condition
from everforge.model.kopt_status import (
    KernelOptimizationStatus,
    KoptCondition,
    SpendStatus,
    TrialCounts,
    lowest_speedup,
)
from everforge.model.manifest import KernelOptimization
from everforge.model.scalars import decimal_text
from everforge.operator.actions import Action, ObjectRef, Requeue
from everforge.operator.attempts import deletions
from everforge.operator.findings import findings
from everforge.operator.observed import Observed
from everforge.operator.settings import Settings
from everforge.operator.targets import TargetDecision, Verdict
from everforge.operator.writing import event_of, status_patch


def reference_of(optimization: KernelOptimization) -> ObjectRef:
    """The object as actions name it."""
    meta = optimization.metadata
    return ObjectRef("KernelOptimization", meta.name, meta.uid or "", meta.namespace)


def is_over(optimization: KernelOptimization) -> bool:
    """Whether it has come to its end, good or bad."""
    conditions = optimization.status.conditions if optimization.status is not None else []
    ended = condition_of(conditions, KoptCondition.SUCCEEDED)
    return ended is not None and ended.status is not ConditionStatus.UNKNOWN


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
    return _is_worrying(condition) or (
        condition.type == KoptCondition.ACCEPTED and condition.status is ConditionStatus.TRUE
    )


def _is_worrying(condition: Condition) -> bool:
    if condition.status is not ConditionStatus.FALSE:
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
    for found in findings(optimization, verdicts, observed):
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


def _total(spends: Sequence[SpendStatus]) -> SpendStatus:
    whole = {
        name: sum(getattr(spend, name) for spend in spends) for name in SpendStatus.model_fields if name != "dollars"
    }
    return SpendStatus(**whole, dollars=decimal_text(sum(float(spend.dollars) for spend in spends)))
