"""Where a candidate stands in its search: which ask of which policy it answers, and why that was asked.

A policy keeps no state beside the trials, so what it must remember of an ask is here, in the candidate's record.
`search/policies/` writes and reads it; `everforge trials` shows it.
"""

from enum import StrEnum

from pydantic import Field

from everforge.model.base import Record
from everforge.model.search_settings import PolicyKind


class Aim(StrEnum):
    """What is asked of the model."""

    WRITE = "write"
    REPAIR = "repair"
    OPTIMISE = "optimise"
    PLAN = "plan"


class Lineage(Record):
    """The ask that a candidate answers."""

    policy: PolicyKind
    aim: Aim
    number: int = Field(ge=0, description="Which ask of the campaign it was; no two answered asks share one")
    reason: str = Field(description="Why this was asked")
    idea: str | None = Field(None, description="What the candidate was to try, where the policy said so")
    strategy: str | None = Field(None, description="The idea's place in the tree of strategies: `4.0/9.1`")
    planned: tuple[str, ...] = Field((), description="Further ideas of the same planning, to be coded later")
    island: int | None = Field(None, ge=0, description="Island of the population it belongs to")
    inspirations: tuple[str, ...] = Field((), description="Trial ids of other candidates the model was shown")
