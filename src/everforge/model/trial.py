"""A trial: one candidate evaluated once on one device; the unit of record, an MLflow run."""

from enum import StrEnum

from pydantic import Field, model_validator

from everforge.model.base import Record, digest_of
from everforge.model.budget import Spend
from everforge.model.candidate import Candidate
from everforge.model.evaluation import Evaluation


class Purpose(StrEnum):
    """Why the trial was run."""

    SEARCH = "search"
    CHAMPION = "champion"


class Conversation(Record):
    """What was said to a model and what it answered; secrets redacted."""

    model: str
    prompt: str
    reply: str
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None = Field(None, description="None where the model's price is unknown")
    seconds: float
    knowledge: tuple[str, ...] = Field((), description="Ids of the knowledge entries that the prompt quoted")


class Trial(Record):
    """One finished trial."""

    trial_id: str
    campaign_id: str
    number: int = Field(ge=0, description="Order in the campaign, from 0")
    purpose: Purpose = Purpose.SEARCH
    candidate: Candidate
    evaluation: Evaluation
    conversation: Conversation | None = Field(None, description="None for candidates no model wrote")
    spend: Spend
    finished_at_s: float = Field(description="Seconds since the epoch")

    @property
    def written_by(self) -> str | None:
        """The model that wrote the candidate; candidates did not always name theirs, conversations did."""
        return self.candidate.model or (self.conversation.model if self.conversation is not None else None)

    @model_validator(mode="after")
    def _evaluates_this_candidate(self) -> "Trial":
        if self.evaluation.candidate_digest != self.candidate.digest:
            raise ValueError("the evaluation is of another candidate")
        return self


def trial_id_of(campaign_id: str, number: int, purpose: Purpose, candidate_digest: str) -> str:
    """The deterministic id of a trial: asking twice for the same trial names the same record."""
    return digest_of([campaign_id, number, purpose, candidate_digest]).removeprefix("sha256:")[:24]
