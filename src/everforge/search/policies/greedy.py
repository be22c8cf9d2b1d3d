"""Greedy refinement: repair what failed, a few times; else make the best candidate so far faster.

The functional pass comes first. A candidate that failed only when it was re-measured, on shapes it had not been
shown, has failed like any other. One that cheated is not mended.
"""

from collections.abc import Sequence

from everforge.model.lineage import Aim
from everforge.model.search_settings import PolicyKind
from everforge.model.trial import Trial
from everforge.search.policies.base import Plan, next_number
from everforge.search.policies.standing import best_trial, due_for_repair, speed_of, written


class GreedyPolicy:
    """Implements `base.Policy`; draws nothing, so the seed changes nothing."""

    @property
    def kind(self) -> PolicyKind:
        """Its name in the manifest."""
        return PolicyKind.GREEDY

    def ask(self, seen: Sequence[Trial], in_flight: Sequence[Plan], _seed: int, /) -> Plan:
        """Mend the last candidate, or make the best one faster, or write the first."""
        number = next_number(seen, in_flight)
        failed = due_for_repair(written(seen))
        if failed is not None and failed.trial_id not in {plan.parent for plan in in_flight}:
            return self._plan(Aim.REPAIR, number, f"trial {failed.number} failed and can be mended", failed)
        best = best_trial(seen)
        if best is None:
            return self._plan(Aim.WRITE, number, "nothing works yet", None)
        return self._plan(Aim.OPTIMISE, number, f"trial {best.number} is the best so far, {speed_of(best):.2f}x", best)

    def _plan(self, aim: Aim, number: int, reason: str, parent: Trial | None) -> Plan:
        chosen = None if parent is None else parent.trial_id
        return Plan(policy=self.kind, aim=aim, number=number, reason=reason, parent=chosen)
