"""The port every generator of candidates implements; the campaign loop in `agents/` calls it.

A generator keeps no state of its own that matters: what it proposes next follows from the finished trials
in its context, so a campaign that was killed resumes by asking again.
"""

from typing import Protocol

from pydantic import field_validator

from everforge.model.base import Record
from everforge.model.budget import Spend
from everforge.model.campaign import CampaignSpec
from everforge.model.candidate import Candidate, GeneratorKind
from everforge.model.session import TaskFacts, VariantFacts
from everforge.model.trial import Conversation, Trial
from everforge.search.disclosure import disclosed
from everforge.search.policies.base import Plan


class SearchContext(Record):
    """What a generator may know: the campaign, the facts of its task, every finished trial, the spend,
    and what is asked of models elsewhere at the same time.

    Of re-measurements it holds what `disclosure.py` lets through: nothing of held-out shapes.
    """

    spec: CampaignSpec
    facts: TaskFacts
    trials: tuple[Trial, ...]
    spent: Spend
    in_flight: tuple[Plan, ...] = ()

    @field_validator("trials")
    @classmethod
    def _hold_nothing_of_held_out_shapes(cls, trials: tuple[Trial, ...]) -> tuple[Trial, ...]:
        return tuple(disclosed(trial) for trial in trials)

    def shown_variants(self) -> tuple[VariantFacts, ...]:
        """The variants a generator may see: those not held out."""
        return tuple(variant for variant in self.facts.variants if not variant.held_out)


class Proposal(Record):
    """A generator's answer. `candidate` is None when money was spent and nothing usable came back."""

    candidate: Candidate | None
    conversation: Conversation | None = None
    spend: Spend = Spend()
    note: str = ""


class Generator(Protocol):
    """Proposes candidates."""

    @property
    def kind(self) -> GeneratorKind:
        """Who this is, for the record."""

    def propose(self, context: SearchContext) -> Proposal | None:
        """The next proposal, or None when there is nothing left to try.

        Raises BudgetExceeded when the next step would spend more than the campaign may, and
        ModelUnavailable when the model's endpoint gave up.
        """
