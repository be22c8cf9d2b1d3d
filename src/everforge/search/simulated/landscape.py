"""A landscape: the ideas that make a simulated kernel faster or slower, alone and together, and how hard each is.

`landscapes.py` has the known ones; `author.py` writes kernels on them, `contest.py` runs policies over them.
"""

import math
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import combinations

from pydantic import Field

from everforge.model.base import Record
from everforge.model.candidate import Language

Taken = frozenset[str]

# What the best kernel of a landscape reaches of the roofline's rate.
BEST_SOL = 0.9


class Idea(Record):
    """One thing a model may do to a kernel."""

    name: str
    gain: float = Field(1.0, gt=0, description="Factor on the speed of a kernel that has it")
    appeal: float = Field(1.0, gt=0, description="How readily a model thinks of it, against other ideas")
    chance: float = Field(0.8, ge=0, le=1, description="How often code for it works at the first attempt")
    mended: float = Field(0.4, ge=0, le=1, description="How often a repair makes broken code of it work")
    needs: frozenset[str] = Field(frozenset(), description="Ideas it makes no sense without")
    clashes: frozenset[str] = Field(frozenset(), description="Ideas that must go when it comes")
    boosted: dict[str, float] = Field(default_factory=dict, description="Further factor beside another idea")
    code: str = Field("", description="Line of the kernel by which it shows")


class Landscape(Record):
    """Ideas and what they amount to; the speed of a kernel without any is 1."""

    name: str
    about: str
    start: float = Field(0.8, gt=0, description="Speedup of a kernel without any idea")
    ideas: tuple[Idea, ...]

    @cached_property
    def by_name(self) -> dict[str, Idea]:
        """The ideas by their names."""
        return {idea.name: idea for idea in self.ideas}

    def speedup(self, taken: Taken) -> float:
        """The true speedup of a kernel with these ideas, multiplied in one order: no run may differ."""
        ideas = [idea for idea in self.ideas if idea.name in taken]
        boosts = (factor for idea in ideas for name, factor in idea.boosted.items() if name in taken)
        return self.start * math.prod(idea.gain for idea in ideas) * math.prod(boosts)

    def with_idea(self, taken: Taken, name: str) -> Taken:
        """The ideas of a kernel once another is put in: what clashes goes, and what needed that."""
        kept = {old for old in taken if not self._clash(old, name)} | {name}
        while lost := {old for old in kept if old != name and not self.by_name[old].needs <= kept}:
            kept -= lost
        return frozenset(kept)

    def applicable(self, taken: Taken) -> Iterator[Idea]:
        """The ideas that a kernel has not, and that make sense in it."""
        for idea in self.ideas:
            if idea.name not in taken and idea.needs <= self.with_idea(taken, idea.name):
                yield idea

    def displaces(self, taken: Taken, idea: Idea) -> bool:
        """Whether putting an idea in makes others go."""
        return not taken <= self.with_idea(taken, idea.name)

    @cached_property
    def best(self) -> float:
        """The speedup of the best kernel there is."""
        names = [idea.name for idea in self.ideas]
        sets = (frozenset(chosen) for size in range(len(names) + 1) for chosen in combinations(names, size))
        return max(self.speedup(taken) for taken in sets if self._is_sound(taken))

    def _is_sound(self, taken: Taken) -> bool:
        pairs = combinations(taken, 2)
        return all(self.by_name[name].needs <= taken for name in taken) and not any(
            self._clash(one, other) for one, other in pairs
        )

    def _clash(self, one: str, other: str) -> bool:
        return other in self.by_name[one].clashes or one in self.by_name[other].clashes


_IDEAS = re.compile(r"^IDEAS = \[(.*)\]$", re.MULTILINE)
_TRYING = re.compile(r'^TRYING = "(.*)"$', re.MULTILINE)
LANGUAGE = Language.TRITON


def source_of(landscape: Landscape, taken: Iterable[str], trying: str, serial: int) -> str:
    """The text of a simulated kernel: what a behaviour can be measured from, and what it consists of."""
    names = sorted(taken)
    code = [line for name in names if (line := landscape.by_name[name].code)]
    listed = ", ".join(f'"{name}"' for name in names)
    body = "\n".join(f"    {line}" for line in code or ["pass"])
    return (
        f'import triton\n\nIDEAS = [{listed}]\nTRYING = "{trying}"\nSERIAL = {serial}\n\n\n'
        f"@triton.jit\ndef kernel(x, y, size):\n    part = tl.program_id(0)\n{body}\n"
    )


def taken_by(source: str) -> Taken:
    """The ideas of a simulated kernel."""
    found = _IDEAS.search(source)
    return frozenset(re.findall(r'"([^"]+)"', found[1])) if found else frozenset()


def tried_in(source: str) -> str:
    """The idea that a simulated kernel was written for."""
    found = _TRYING.search(source)
    return found[1] if found else ""
