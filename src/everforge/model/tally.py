"""What each author of candidates achieved in a campaign: verdicts, tokens, dollars.

`search/summary.py` counts it from the trials; the reports of `everforge run` and `everforge suite`, MLflow's run
of the campaign and its page show it.
"""

from collections.abc import Mapping, Sequence

from pydantic import Field

from everforge.model.base import Record
from everforge.model.candidate import GeneratorKind
from everforge.model.verdict import Verdict

# What nobody ends in by an honest mistake in arithmetic: one breaks a written rule, the other cheats.
DISHONOURABLE = (Verdict.REJECTED, Verdict.TAMPERED)
Counts = Mapping[Verdict, int]


class Tally(Record):
    """The trials of one generator, or of one model where a model wrote them."""

    generator: GeneratorKind
    model: str | None = Field(None, description="LiteLLM model name; null for candidates no model wrote")
    trials_by_verdict: dict[Verdict, int] = Field(
        default_factory=dict, description="Different candidates tried; a known one proposed again counts once"
    )
    remeasured_by_verdict: dict[Verdict, int] = Field(
        default_factory=dict, description="Re-measurements in a fresh process, held-out variants included"
    )
    device_seconds: float = 0.0
    tokens: int = Field(0, description="Prompt and completion, replies without code included")
    dollars: float | None = Field(0.0, description="null where the model's price is unknown")
    tokens_without_code: int = Field(0, description="Part of `tokens`: replies that held no candidate")
    dollars_without_code: float = Field(0.0, description="Part of `dollars`: replies that held no candidate")

    @property
    def author(self) -> str:
        """The model's name, or the generator's where no model wrote."""
        return self.model or self.generator.value

    @property
    def trials(self) -> int:
        """Different candidates tried."""
        return sum(self.trials_by_verdict.values())

    def caught(self, verdict: Verdict) -> int:
        """How often a verdict was given, in the search or when re-measured."""
        return self.trials_by_verdict.get(verdict, 0) + self.remeasured_by_verdict.get(verdict, 0)

    def plus(self, other: "Tally") -> "Tally":
        """Both together, under this one's name."""
        unpriced = self.dollars is None or other.dollars is None
        return self.model_copy(
            update={
                "trials_by_verdict": _summed(self.trials_by_verdict, other.trials_by_verdict),
                "remeasured_by_verdict": _summed(self.remeasured_by_verdict, other.remeasured_by_verdict),
                "device_seconds": self.device_seconds + other.device_seconds,
                "tokens": self.tokens + other.tokens,
                "dollars": None if unpriced else (self.dollars or 0.0) + (other.dollars or 0.0),
                "tokens_without_code": self.tokens_without_code + other.tokens_without_code,
                "dollars_without_code": self.dollars_without_code + other.dollars_without_code,
            }
        )


def merged(tallies: Sequence[Tally]) -> tuple[Tally, ...]:
    """One tally for each author, in the order first met."""
    by_author: dict[tuple[GeneratorKind, str | None], Tally] = {}
    for tally in tallies:
        key = tally.generator, tally.model
        by_author[key] = by_author[key].plus(tally) if key in by_author else tally
    return tuple(by_author.values())


def is_worth_telling(tallies: Sequence[Tally]) -> bool:
    """Whether the tallies say more than the totals: several authors, or somebody who broke a rule or cheated."""
    return len(tallies) > 1 or any(tally.caught(verdict) for tally in tallies for verdict in DISHONOURABLE)


def _summed(one: Counts, other: Counts) -> dict[Verdict, int]:
    """Counts added up, in the order of the verdicts, zeros left out."""
    totals = {verdict: one.get(verdict, 0) + other.get(verdict, 0) for verdict in Verdict}
    return {verdict: count for verdict, count in totals.items() if count}
