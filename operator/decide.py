"""The operator's whole judgement, pure: from what is seen of a cluster to what is to be done about it.

`reconciler.py` calls it with the part of the cluster a key is about; tests call it with a whole world. Deciding twice
from the same state is deciding once, and every state leads to the same end.
"""

from collections.abc import Iterator
from datetime import datetime

from everforge.model.condition import Condition, ConditionStatus, condition_of
from everforge.operator.actions import Action, EmitEvent, ObjectRef, PatchStatus, Requeue
from everforge.operator.claims import PoolClaims
from everforge.operator.observed import Observed, Unreadable
from everforge.operator.optimizations import optimization_actions
from everforge.operator.pool_state import pool_status
from everforge.operator.reports import latest_report
from everforge.operator.settings import Settings
from everforge.operator.writing import event_of, status_patch

DEFAULTS = Settings()


def decide(observed: Observed, now: datetime, settings: Settings = DEFAULTS) -> tuple[Action, ...]:
    """What is to be done, in the order in which it is to be done; empty where everything is as it should be."""
    now = now.replace(microsecond=0)  # as the API server keeps times; two decisions of one second then write one status
    actions = [*_unreadable(observed, now), *_optimizations(observed, settings, now), *_pools(observed, settings, now)]
    waits = [action.after_s for action in actions if isinstance(action, Requeue)]
    others = [action for action in actions if not isinstance(action, Requeue)]
    return (*others, *([Requeue(min(waits))] if waits else []))


def _optimizations(observed: Observed, settings: Settings, now: datetime) -> Iterator[Action]:
    about = observed.about
    for optimization in observed.optimizations:
        meta = optimization.metadata
        if about is None or (about.kind, about.namespace, about.name) == (
            "KernelOptimization",
            meta.namespace,
            meta.name,
        ):
            yield from optimization_actions(optimization, observed, settings, now)


def _pools(observed: Observed, settings: Settings, now: datetime) -> Iterator[Action]:
    names = {pool.metadata.name for pool in observed.pools} | {claim.spec.pool for claim in observed.claims}
    about = observed.about
    for name in sorted(names):
        if about is None or (about.kind, about.name) == ("DevicePool", name):
            yield from _pool(name, observed, settings, now)


def _pool(name: str, observed: Observed, settings: Settings, now: datetime) -> Iterator[Action]:
    claims = PoolClaims(name, observed, settings, now)
    yield from claims.actions()
    pool = claims.pool
    if pool is None:
        return
    report = latest_report(claims.claims)
    tools = report.toolchain if report is not None else None
    before, after = pool.status, pool_status(pool, observed.nodes, claims.turn.runners, claims.waiting, now, tools)
    if after == before:
        return
    about = ObjectRef("DevicePool", name, pool.metadata.uid or "")
    for condition in after.conditions:
        old = condition_of(before.conditions, condition.type) if before is not None else None
        if old is None or (old.status, old.reason) != (condition.status, condition.reason):
            yield event_of(about, old, condition, worrying=condition.status is ConditionStatus.FALSE)
    yield status_patch(about, after)


def _unreadable(observed: Observed, now: datetime) -> Iterator[PatchStatus | EmitEvent]:
    """Objects that this operator cannot read are told so, and nothing else happens to them."""
    for found in observed.unreadable:
        yield from _told_unreadable(found, now)


def _told_unreadable(found: Unreadable, now: datetime) -> Iterator[EmitEvent]:
    about = ObjectRef(found.kind, found.name, found.uid, found.namespace or None)
    condition = Condition(
        type="Accepted",
        status=ConditionStatus.FALSE,
        reason="Unreadable",
        message=f"the operator cannot read this object: {found.error}; correct it, or match the operator's version",
        last_transition_time=now,
    )
    yield event_of(about, None, condition, worrying=True)
