"""Statuses and Events as actions: the operator's part of an object, whole, and a change told once."""

from everforge.model.base import ApiRecord
from everforge.model.condition import Condition
from everforge.operator.actions import EmitEvent, ObjectRef, PatchStatus


def status_patch(about: ObjectRef, status: ApiRecord) -> PatchStatus:
    """The action that makes an object's status read so.

    The whole status each time: what a server-side apply leaves out that it had before, it takes away.
    """
    return PatchStatus(about, status.written())


def event_of(about: ObjectRef, condition: Condition, worrying: bool) -> EmitEvent:
    """The Event that tells of a condition's change."""
    since = condition.last_transition_time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return EmitEvent(
        about, "Warning" if worrying else "Normal", condition.reason, condition.message or condition.reason, since
    )
