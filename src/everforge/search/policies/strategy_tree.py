"""The tree of strategies that a campaign's trials make: ideas below the ideas they build on, and what came of each.

A node is an idea, not a candidate: it may have been coded several times, or not at all. `tree.py` searches in it.
Strategy ids are paths: `4.0/9.1` is the second idea of ask 9, which planned what to do after the first of ask 4.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from everforge.model.lineage import Aim, Lineage
from everforge.model.search_settings import PolicyKind
from everforge.model.trial import Trial
from everforge.search.policies.base import Plan
from everforge.search.policies.standing import best_of, failures_at_end, fit, is_repairable, reward, written

# An idea that was coded in vain this often is given up, repairs and fresh starts together.
ATTEMPTS = 4
# Two repairs, and then it is written anew: what is broken may be beyond mending, the idea is not.
REPAIRS_PER_START = 2

ROOT = ""


@dataclass
class Node:
    """An idea below another, with the trials that tried it."""

    strategy: str
    idea: str | None = None
    parent: "Node | None" = None
    children: list["Node"] = field(default_factory=list)
    attempts: list[Trial] = field(default_factory=list)
    works: list[Trial] = field(default_factory=list)
    in_flight: int = 0
    being_planned: bool = False
    is_dry: bool = False

    @property
    def base(self) -> Trial | None:
        """The candidate to build on: the best that came of the idea, else of the one above."""
        own = best_of(self.works)
        return own if own is not None or self.parent is None else self.parent.base

    @property
    def depth(self) -> int:
        """How many ideas led here, the node's own included."""
        return self.strategy.count("/") + 1 if self.strategy else 0

    @property
    def is_implemented(self) -> bool:
        """Whether some candidate of the idea works; the root is what there was before any idea."""
        return bool(self.works) or self.parent is None

    @property
    def is_given_up(self) -> bool:
        """Whether the idea was coded in vain often enough."""
        return not self.is_implemented and len(self.attempts) >= ATTEMPTS

    @property
    def is_exhausted(self) -> bool:
        """Whether there is nothing to ask at or below it: given up, or out of ideas with all of them tried."""
        if not self.is_implemented:
            return self.is_given_up
        return self.is_dry and all(child.is_exhausted for child in self.children)

    @property
    def ideas(self) -> list[str]:
        """The ideas that led here, and those planned from here on."""
        above = [] if self.parent is None else [node.idea for node in self._path()]
        return [idea for idea in (*above, *(child.idea for child in self.children)) if idea is not None]

    @property
    def visits(self) -> int:
        """How often anything at or below the node was tried, what is in flight included."""
        return len(self.attempts) + self.in_flight + sum(child.visits for child in self.children)

    @property
    def best_reward(self) -> float | None:
        """The best reward at or below the node, None where nothing works."""
        rewards = [reward(trial) for trial in self.works]
        below = (child.best_reward for child in self.children)
        return max([*rewards, *(value for value in below if value is not None)], default=None)

    def _path(self) -> Iterator["Node"]:
        if self.parent is not None:
            yield from self.parent._path()
            yield self

    def mendable(self) -> Trial | None:
        """The failed attempt that is to be repaired next, None where the idea is to be written anew."""
        failures = failures_at_end(self.attempts)
        if failures % (REPAIRS_PER_START + 1) and is_repairable(self.attempts[-1]):
            return self.attempts[-1]
        return None


def strategy_tree(seen: Sequence[Trial], in_flight: Sequence[Plan]) -> Node:
    """The root of the tree; what no tree policy wrote is the root's to build on."""
    root = Node(ROOT)
    nodes = {ROOT: root}
    for trial in written(seen):
        for strategy, idea in _ideas_of(trial.candidate.lineage):
            _grow(nodes, strategy, idea)
        if _brought_no_idea(trial.candidate.lineage):
            _node_of(trial, nodes).is_dry = True
        _node_of(trial, nodes).attempts.append(trial)
    for trial in fit(seen):
        _node_of(trial, nodes).works.append(trial)
    for plan in in_flight:
        _put_in_flight(plan, nodes)
    return root


def idea_id(parent: str, number: int, position: int) -> str:
    """The id of an idea that ask `number` planned below another."""
    own = f"{number}.{position}"
    return f"{parent}/{own}" if parent else own


def _ideas_of(lineage: Lineage | None) -> Iterator[tuple[str, str | None]]:
    """The idea that a candidate coded, and those planned beside it."""
    if lineage is None or lineage.policy is not PolicyKind.TREE or lineage.strategy is None:
        return
    if _brought_no_idea(lineage):
        return
    yield lineage.strategy, lineage.idea
    above = _above(lineage.strategy)
    for position, idea in enumerate(lineage.planned, start=1):
        yield idea_id(above, lineage.number, position), idea


def _brought_no_idea(lineage: Lineage | None) -> bool:
    """Whether a planning was answered with code but without a new idea: there is nothing more to plan there."""
    return lineage is not None and lineage.aim is Aim.PLAN and lineage.idea is None


def _grow(nodes: dict[str, Node], strategy: str, idea: str | None) -> Node:
    if strategy not in nodes:
        above = _grow(nodes, _above(strategy), None)
        nodes[strategy] = Node(strategy, idea, above)
        above.children.append(nodes[strategy])
    return nodes[strategy]


def _above(strategy: str) -> str:
    return strategy.rpartition("/")[0]


def _node_of(trial: Trial, nodes: dict[str, Node]) -> Node:
    lineage = trial.candidate.lineage
    strategy = lineage.strategy if lineage is not None else None
    if strategy is not None and _brought_no_idea(lineage):
        strategy = _above(strategy)
    return nodes.get(strategy or ROOT, nodes[ROOT])


def _put_in_flight(plan: Plan, nodes: dict[str, Node]) -> None:
    if plan.strategy is None:
        return
    if plan.aim is Aim.PLAN:
        above = nodes.get(_above(plan.strategy), nodes[ROOT])
        above.being_planned = True
        above.in_flight += 1
    else:
        nodes.get(plan.strategy, nodes[ROOT]).in_flight += 1
