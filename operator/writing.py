"""Statuses and Events as actions: the operator's part of an object, whole, and a change told once."""

from everforge.model.base import ApiRecord
from everforge.model.condition import Condition
from everforge.operator.actions import EmitEvent, ObjectRef, PatchStatus


def status_patch(about: ObjectRef, status: ApiRecord) -> PatchStatus:
    """The action that makes an object's status read so.

    The whole status each time: what a server-side apply leaves out that it had before, it takes away.
    """
    return PatchStatus(about, status.written())


def event_of(about: ObjectRef, before: Condition | None, condition: Condition, worrying: bool) -> EmitEvent:
    """The Event that tells of a condition's change.

    What was before is part of its identity and the time is not: an operator that was killed between the Event and the
    status tells the same change again, at another time.
    """
    old = "" if before is None else f"{before.status} {before.reason} {before.last_transition_time.isoformat()}"
    change = f"{condition.type} {old} to {condition.status} {condition.reason}"
    return EmitEvent(
        about, "Warning" if worrying else "Normal", condition.reason, condition.message or condition.reason, change
    )
