"""The port of a search policy, what it asks, and how many asks a budget has room for.

Ask and tell: `ask` says what the model should be asked next; the answer is told by recording its trial, whose
candidate carries the ask as its `lineage`. So a policy has no state, a killed campaign resumes by asking again, and
several asks may be in flight. A further policy is one file here, a kind in `model/search_settings.py` and a line in
`chosen.py`. `agents/llm/plan.py` and `search/simulated/` call this.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Protocol

from everforge.model.base import Record
from everforge.model.lineage import Aim, Lineage
from everforge.model.search_settings import PolicyKind
from everforge.model.trial import Trial


class Plan(Record):
    """One ask: what for, from which trial on, and why."""

    policy: PolicyKind
    aim: Aim
    number: int
    reason: str
    parent: str | None = None
    inspirations: tuple[str, ...] = ()
    idea: str | None = None
    strategy: str | None = None
    island: int | None = None
    known: tuple[str, ...] = ()

    def lineage(self, idea: str | None = None, planned: tuple[str, ...] = ()) -> Lineage:
        """What the answer's candidate remembers; a plan's answer says which idea it coded and which it did not."""
        return Lineage(
            policy=self.policy,
            aim=self.aim,
            number=self.number,
            reason=self.reason,
            idea=idea or self.idea,
            strategy=self.strategy,
            planned=planned,
            island=self.island,
            inspirations=self.inspirations,
        )


class Policy(Protocol):
    """Decides what a model is asked next."""

    @property
    def kind(self) -> PolicyKind:
        """Its name in the manifest."""

    def ask(self, seen: Sequence[Trial], in_flight: Sequence[Plan], seed: int, /) -> Plan:
        """The next ask. `seen` are the trials a generator may know, `in_flight` the asks not answered yet.

        The same arguments give the same ask. A parent is one of `seen`: to be made faster, one that is correct and
        was not refuted; to be repaired, one that failed. One that cheated is neither.
        """


def asks(policy: Policy, seen: Sequence[Trial], in_flight: Sequence[Plan], seed: int, room: int) -> Iterator[Plan]:
    """The next asks, each made knowing of those before it, until as many are in flight as the budget has `room` for."""
    waiting = list(in_flight)
    while len(waiting) < room:
        waiting.append(policy.ask(seen, tuple(waiting), seed))
        yield waiting[-1]


def next_number(seen: Sequence[Trial], in_flight: Sequence[Plan]) -> int:
    """The number of the next ask: above that of any answered or in flight."""
    answered = [trial.candidate.lineage.number for trial in seen if trial.candidate.lineage is not None]
    return max([*answered, *(plan.number for plan in in_flight)], default=-1) + 1


def draws(seed: int, number: int) -> random.Random:
    """The randomness of one ask: its own, so that it is the same whichever sitting asks it."""
    return random.Random(f"{seed}/{number}")
