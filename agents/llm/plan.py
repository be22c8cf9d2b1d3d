"""The trials behind an ask of the search policy: what the request to the model quotes. Pure.

A policy names trials by their ids (`search/policies/`); `prompt.py` needs their sources, times and errors. One that
cheated is not mended: the model is told that it was caught, and starts from what is honest.
"""

from everforge.model.base import Record
from everforge.model.lineage import Aim, Lineage
from everforge.model.trial import Trial
from everforge.model.verdict import Verdict
from everforge.search.generator import SearchContext
from everforge.search.policies.base import Plan, Policy
from everforge.search.policies.chosen import policy_of
from everforge.search.policies.standing import best_trial, written


class Move(Record):
    """The ask, and the trials it works from; `caught` is the model's last one where that cheated.

    `best` is what a new candidate is derived from, mostly the best so far, or beside a repair what already works.
    `ideas` are what the model named when it was asked to plan; the first is coded now.
    """

    plan: Plan
    failed: Trial | None = None
    caught: Trial | None = None
    best: Trial | None = None
    is_best: bool = True
    inspirations: tuple[Trial, ...] = ()
    ideas: tuple[str, ...] = ()

    @property
    def aim(self) -> Aim:
        """What is asked of the model."""
        return self.plan.aim

    @property
    def parent(self) -> Trial | None:
        """The trial whose candidate the next one derives from."""
        return self.failed or self.best

    @property
    def idea(self) -> str | None:
        """What the candidate is to try, where the policy or a planning said so."""
        return next(iter(self.ideas), self.plan.idea)

    @property
    def lineage(self) -> Lineage:
        """What the candidate is to remember of the ask."""
        return self.plan.lineage(self.idea, self.ideas[1:])


def asked_move(context: SearchContext) -> Move:
    """The move that the campaign's policy asks for."""
    settings = context.spec.search
    return move_of(policy_of(settings.policy), context.trials, context.in_flight, settings.seed)


def move_of(policy: Policy, trials: tuple[Trial, ...], in_flight: tuple[Plan, ...], seed: int) -> Move:
    """What a policy asks next, with the trials it names."""
    plan = policy.ask(trials, in_flight, seed)
    by_id = {trial.trial_id: trial for trial in trials}
    parent = None if plan.parent is None else by_id[plan.parent]
    best, repairs = best_trial(trials), plan.aim is Aim.REPAIR
    last = written(trials)[-1:]
    cheated = not repairs and bool(last) and last[0].evaluation.verdict is Verdict.TAMPERED
    return Move(
        plan=plan,
        failed=parent if repairs else None,
        caught=last[0] if cheated else None,
        best=best if repairs else parent,
        is_best=repairs or parent is best,
        inspirations=tuple(by_id[trial_id] for trial_id in plan.inspirations),
    )
