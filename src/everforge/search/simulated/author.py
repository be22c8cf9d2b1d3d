"""A simulated model: answers a policy's asks with kernels on a landscape, as ready and as careless as it is told.

It follows an ask as far as the ask goes. Left to itself it thinks of what is appealing, less of what it was just shown
as tried, more of what inspirations have, and seldom of what means giving up a part of the kernel at hand. Planning
draws from the same thoughts, several at once and none twice: a policy gets nothing from the model but other questions.
"""

import random
from collections.abc import Sequence

from everforge.model.base import Record
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.lineage import Aim
from everforge.model.trial import Trial
from everforge.search.behaviour import behaviour_of
from everforge.search.policies.base import Plan
from everforge.search.simulated.landscape import LANGUAGE, Idea, Landscape, Taken, source_of, taken_by, tried_in

# Ideas that a planning names at most, and of the latest trials what a prompt shows (`agents/llm/feedback.py`).
PLANNED = 3
HISTORY_ROWS = 12
# How much less readily a model thinks of what it was told is known already, and of what displaces a part of the kernel.
_TOLD = 0.2
_DISPLACING = 0.3
# How much more readily of what an inspiration has, and of what leads to the cell that was asked for.
_INSPIRED = 2.0
_DIRECTED = 4.0
# What a call that writes a kernel costs, and one that plans: about 6,000 and 3,000 tokens of a mid-priced model.
WRITING_DOLLARS = 0.03
PLANNING_DOLLARS = 0.015


class Answer(Record):
    """A candidate, whether its code works, and what it cost."""

    candidate: Candidate
    works: bool
    dollars: float


def answer(landscape: Landscape, plan: Plan, seen: Sequence[Trial], rng: random.Random) -> Answer:
    """What the model makes of an ask."""
    parent = next((trial for trial in seen if trial.trial_id == plan.parent), None)
    base = frozenset() if parent is None else taken_by(parent.candidate.source)
    if plan.aim is Aim.REPAIR and parent is not None:
        name = tried_in(parent.candidate.source)
        works = rng.random() < (landscape.by_name[name].mended if name else 1.0)
        return _answer(landscape, plan, base, name, works, ())
    thoughts = _thoughts(landscape, plan, base, seen, rng)
    name, *others = thoughts or [""]
    works = rng.random() < (landscape.by_name[name].chance if name else 1.0)
    taken = landscape.with_idea(base, name) if name else base
    return _answer(landscape, plan, taken, name, works, tuple(others))


def _thoughts(landscape: Landscape, plan: Plan, base: Taken, seen: Sequence[Trial], rng: random.Random) -> list[str]:
    """The ideas the model has, best first; the one it was given, unless it makes no sense in the kernel at hand."""
    sensible = {idea.name for idea in landscape.applicable(base)}
    if plan.idea in landscape.by_name:
        return [plan.idea] if plan.idea in sensible else []
    weights = {idea.name: _weight(landscape, plan, base, idea, seen) for idea in landscape.applicable(base)}
    wanted = PLANNED if plan.aim is Aim.PLAN else 1
    drawn: list[str] = []
    while weights and len(drawn) < wanted:
        drawn += rng.choices(list(weights), list(weights.values()))
        del weights[drawn[-1]]
    return drawn


def _weight(landscape: Landscape, plan: Plan, base: Taken, idea: Idea, seen: Sequence[Trial]) -> float:
    weight = idea.appeal
    after = landscape.with_idea(base, idea.name)
    told = {*plan.known, *(tried_in(trial.candidate.source) for trial in seen[-HISTORY_ROWS:])}
    if idea.name in told:
        weight *= _TOLD
    if landscape.displaces(base, idea):
        weight *= _DISPLACING
    shown = [trial for trial in seen if trial.trial_id in plan.inspirations]
    if any(idea.name in taken_by(trial.candidate.source) for trial in shown):
        weight *= _INSPIRED
    if plan.idea and str(behaviour_of(source_of(landscape, after, "", 0))) in plan.idea:
        weight *= _DIRECTED
    return weight


def _answer(landscape: Landscape, plan: Plan, taken: Taken, name: str, works: bool, others: tuple[str, ...]) -> Answer:
    planning = plan.aim is Aim.PLAN
    candidate = Candidate(
        source=source_of(landscape, taken, name, plan.number),
        language=LANGUAGE,
        generator=GeneratorKind.LLM,
        model="simulated",
        strategy=name or "polish",
        parent=plan.parent,
        lineage=plan.lineage(idea=name or None, planned=others) if planning else plan.lineage(),
    )
    dollars = WRITING_DOLLARS + (PLANNING_DOLLARS if planning else 0.0)
    return Answer(candidate=candidate, works=works, dollars=dollars)
