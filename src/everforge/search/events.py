"""News from a campaign at work, as frozen records; `agents/campaign.py` sends them, displays show them."""

from collections.abc import Callable

from pydantic import Field

from everforge.model.base import Record
from everforge.model.budget import Spend
from everforge.model.campaign import CampaignRecord, CampaignSpec
from everforge.model.session import TaskFacts
from everforge.model.trial import Conversation, Trial
from everforge.model.verdict import Verdict


class CampaignStarted(Record):
    """A sitting begins; `resumed_trials` were recorded by earlier ones, and ended with `verdicts`."""

    spec: CampaignSpec
    resumed_trials: int
    verdicts: dict[Verdict, int] = Field(default_factory=dict)
    spent: Spend = Spend()
    run_id: str | None = None
    experiment_id: str | None = None


class TaskAccepted(Record):
    """The runner loaded the task and measured its baselines."""

    facts: TaskFacts


class StageChanged(Record):
    """What is being worked on now."""

    stage: str
    detail: str = ""


class ModelReplied(Record):
    """A model was asked for a candidate and answered; what the conversation cost is spent, whatever comes of it."""

    conversation: Conversation


class TrialFinished(Record):
    """A trial was measured and recorded; `reused` if an earlier verdict on the same candidate stood in.

    `spent` and `verdicts` are of the whole campaign, this trial included.
    """

    trial: Trial
    spent: Spend
    reused: bool = False
    verdicts: dict[Verdict, int] = Field(default_factory=dict)


class Noted(Record):
    """Something a person should know that is no trial."""

    text: str


class CampaignEnded(Record):
    """The sitting is over; the record says why, the champion's trial what was measured of it."""

    record: CampaignRecord
    champion_trial: Trial | None = None


Event = CampaignStarted | TaskAccepted | StageChanged | ModelReplied | TrialFinished | Noted | CampaignEnded
Listener = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """A listener for callers that show nothing."""


def all_of(*listeners: Listener) -> Listener:
    """A listener that tells several, in their order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell
