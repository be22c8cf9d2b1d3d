"""Conditions: what an object's status says in one word each, as Kubernetes' own objects do (metav1.Condition)."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from everforge.model.base import ApiRecord
from everforge.model.scalars import Count, Timestamp

# As the API server's own schema of conditions has them.
MAX_REASON = 1024
MAX_MESSAGE = 32768
MAX_CONDITIONS = 16
BY_TYPE = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiRecord):
    """One thing that does or does not hold of an object, since when, and why."""

    type: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]*$", max_length=64)] = Field(
        description="What holds or does not, such as Succeeded or Ready"
    )
    status: ConditionStatus = Field(description="Whether it holds")
    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=MAX_REASON)] = Field(
        description="Why, in one word for programs"
    )
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = Field(
        description="Why, in a sentence for people, and what to do about it"
    )
    last_transition_time: Timestamp = Field(description="When the status last changed")
    observed_generation: Count | None = Field(None, description="Generation of the spec that this was decided from")


Conditions = Annotated[list[Condition], Field(max_length=MAX_CONDITIONS, json_schema_extra=dict(BY_TYPE))]


def condition_of(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of a type, None if it was never set."""
    return next((condition for condition in conditions if condition.type == type_), None)


def holds(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether the condition of a type is True."""
    found = condition_of(conditions, type_)
    return found is not None and found.status is ConditionStatus.TRUE


def with_condition(
    conditions: Sequence[Condition],
    type_: str,
    status: ConditionStatus,
    reason: str,
    message: str,
    now: datetime,
    generation: int | None = None,
) -> list[Condition]:
    """The conditions with one set, in their order; the time of transition moves only when the status changes."""
    before = condition_of(conditions, type_)
    since = before.last_transition_time if before is not None and before.status is status else now
    after = Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message[:MAX_MESSAGE],
        last_transition_time=since,
        observed_generation=generation,
    )
    if before is None:
        return [*conditions, after]
    return [after if condition.type == type_ else condition for condition in conditions]
