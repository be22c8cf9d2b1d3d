"""State machines of the objects: one table says which state may follow which, in the model and in the API server.

The operator is the only writer of states. The server's rule, made from the same table, is there for the day
when two operators run, or one of another version.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TypeVar

from everforge.model.base import Rule

S = TypeVar("S", bound=StrEnum)
Table = Mapping[S, Collection[S]]


def may_follow(table: Table[S], before: S, after: S) -> bool:
    """Whether a state may come next; every state may stay."""
    return after is before or after in table[before]


def is_terminal(table: Table[S], state: S) -> bool:
    """Whether nothing may come after the state."""
    return not table[state]


def transition_rule(table: Table[S], field: str) -> Rule:
    """The rule that lets the API server refuse what the table does not have."""
    ways = [f"self.{field} == oldSelf.{field}"]
    for before, next_states in table.items():
        if next_states:
            listed = ", ".join(f"'{state.value}'" for state in sorted(next_states))
            ways.append(f"(oldSelf.{field} == '{before.value}' && self.{field} in [{listed}])")
    return Rule(cel=" || ".join(ways), message=f"{field} cannot change that way", field=field)
