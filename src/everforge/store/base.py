"""The port every store implements; the campaign loop writes to it and resumes from it.

Every write is idempotent: the same record written twice is one record. What was written is never lost.
"""

from typing import Protocol

from everforge.model.base import Record
from everforge.model.campaign import CampaignRecord, CampaignSpec, Champion
from everforge.model.session import TaskFacts
from everforge.model.trial import Trial


class Tracking(Record):
    """Where a campaign is kept, for a person to look at; parts are None for stores that have none."""

    tracking_uri: str | None = None
    experiment_id: str | None = None
    run_id: str | None = None


class Store(Protocol):
    """Keeps campaigns and trials. Raises StoreUnavailable when its server cannot be reached."""

    def open_campaign(self, spec: CampaignSpec) -> Tracking:
        """Make the campaign known (again); an existing one is reopened, not doubled."""

    def record_facts(self, campaign_id: str, facts: TaskFacts) -> None:
        """Keep the baselines, notes and environment measured when the session opened."""

    def record_trial(self, trial: Trial) -> None:
        """Keep one finished trial."""

    def trials(self, campaign_id: str) -> tuple[Trial, ...]:
        """Every recorded trial of a campaign, in order of their numbers."""

    def register_champion(self, campaign_id: str, champion: Champion, trial: Trial) -> Champion:
        """Publish the champion under the alias `champion`; returns it with run_id and model_uri filled in."""

    def record_campaign(self, record: CampaignRecord) -> None:
        """Keep where the campaign stands: at its end, at an interruption, or in between."""

    def campaign(self, campaign_id: str) -> CampaignRecord | None:
        """The last record of a campaign, None if it was never kept."""

    def flush(self) -> int:
        """Try to write what still waits; returns how many writes still do."""
