"""Monte-Carlo tree search over strategies: ideas are planned apart from their code, and the roofline says their worth.

From the root down, at each idea that works, the child with the best upper bound is followed (UCT, Kocsis and
Szepesvári 2006) until there is one that has no working code yet: that idea is coded, repaired, or written anew. Where
an idea's children have been tried enough, the model is asked to plan further ones. A broken implementation costs an
idea one of its attempts, not its place. The worth of a node is the best reward below it, because a campaign keeps one
kernel. That strategies are what to search over is K-Search's idea; the tree here is made of recorded trials alone.
"""

import math
import random
from collections.abc import Sequence

from everforge.model.lineage import Aim
from everforge.model.search_settings import PolicyKind
from everforge.model.trial import Trial
from everforge.search.policies.base import Plan, draws, next_number
from everforge.search.policies.standing import fit, reward, speed_of
from everforge.search.policies.strategy_tree import ROOT, Node, idea_id, strategy_tree

# Weight of the bound's second term. A factor of 2 in speed is 0.15 of reward.
CURIOSITY = 0.02
# Until an idea was tried so often, itself and what follows from it, it counts as no worse than what it builds on: the
# first kernel of a better way is often slower.
TRIED_ENOUGH = 3
# Children an idea may have: these, and one more each time its visits grow fourfold or so (progressive widening).
FIRST_CHILDREN = 3
WIDENING = 0.5
# Ideas upon ideas: a path is part of every record, and simulated searches of 40 trials were 16 deep at most.
DEEPEST = 32
INSPIRATIONS = 2


class TreePolicy:
    """Implements `base.Policy`."""

    def __init__(self, curiosity: float = CURIOSITY) -> None:
        self.curiosity = curiosity

    @property
    def kind(self) -> PolicyKind:
        """Its name in the manifest."""
        return PolicyKind.TREE

    def ask(self, seen: Sequence[Trial], in_flight: Sequence[Plan], seed: int, /) -> Plan:
        """Follow the best bound to an idea without working code, or to one whose next steps are to be planned."""
        number = next_number(seen, in_flight)
        node = _chosen(strategy_tree(seen, in_flight), self.curiosity, draws(seed, number))
        if not node.is_implemented:
            return self._code(node, number)
        if node.being_planned:
            return self._refine(node, number, "ideas are being planned here; meanwhile what there is gets better")
        if node.depth >= DEEPEST:
            return self._refine(node, number, f"{node.depth} ideas led here, enough to be refined as they are")
        return self._plan(node, number, seen)

    def _code(self, node: Node, number: int) -> Plan:
        mended = node.mendable() if not node.in_flight else None
        parent = mended or node.base
        tried = f", coded {len(node.attempts)} times in vain" if node.attempts else ""
        return Plan(
            policy=self.kind,
            aim=Aim.REPAIR if mended else Aim.WRITE if parent is None else Aim.OPTIMISE,
            number=number,
            reason=f"idea {node.strategy} has no working code{tried}",
            parent=None if parent is None else parent.trial_id,
            idea=node.idea,
            strategy=node.strategy,
        )

    def _refine(self, node: Node, number: int, reason: str) -> Plan:
        """What to do where nothing is planned: leave it to the model, for the price of one call."""
        base = node.base
        return Plan(
            policy=self.kind,
            aim=Aim.WRITE if base is None else Aim.OPTIMISE,
            number=number,
            reason=reason,
            parent=None if base is None else base.trial_id,
            strategy=node.strategy or None,
        )

    def _plan(self, node: Node, number: int, seen: Sequence[Trial]) -> Plan:
        base = node.base
        others = [trial for trial in fit(seen) if trial is not base]
        others.sort(key=speed_of, reverse=True)
        where = f"idea {node.strategy} works" if node.strategy != ROOT else "at the root"
        return Plan(
            policy=self.kind,
            aim=Aim.PLAN,
            number=number,
            reason=f"{where}, {len(node.children)} ideas below it so far",
            parent=None if base is None else base.trial_id,
            inspirations=tuple(trial.trial_id for trial in others[:INSPIRATIONS]),
            strategy=idea_id(node.strategy, number, 0),
            known=tuple(dict.fromkeys(node.ideas)),
        )


def _chosen(root: Node, curiosity: float, rng: random.Random) -> Node:
    """The idea to code, or the one below which to plan."""
    node = root
    while node.is_implemented:
        open_children = [child for child in node.children if _can_be_tried(child)]
        if not open_children or _wants_children(node):
            return node
        node = _best_bound(node, open_children, curiosity, rng)
    return node


def _best_bound(node: Node, children: Sequence[Node], curiosity: float, rng: random.Random) -> Node:
    """The child with the best upper bound; equals are drawn."""
    tried = math.log(node.visits + 1)
    bounds = [_worth(child) + curiosity * math.sqrt(tried / (child.visits + 1)) for child in children]
    best = max(bounds)
    return rng.choice([child for child, bound in zip(children, bounds, strict=True) if bound == best])


def _can_be_tried(node: Node) -> bool:
    """Whether asking at or below a node makes sense: something is left there, and it is not being coded just now."""
    return not node.is_exhausted and (node.is_implemented or not node.in_flight)


def _wants_children(node: Node) -> bool:
    """Whether a node is due for another planning: its ideas work or were given up, and are few for its visits."""
    allowed = FIRST_CHILDREN * max(1.0, WIDENING * math.sqrt(node.visits))
    is_busy = any(not child.is_implemented and not child.is_given_up for child in node.children)
    return not is_busy and not node.being_planned and not node.is_dry and len(node.children) < allowed


def _worth(node: Node) -> float:
    """The best reward below an idea; until it was tried a few times, no less than that of what it builds on."""
    known = node.best_reward
    if known is not None and node.visits >= TRIED_ENOUGH:
        return known
    above = node.parent.base if node.parent is not None else None
    return max(known or 0.0, 0.0 if above is None else reward(above))
