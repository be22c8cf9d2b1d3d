"""A store that lives and dies with the process: for tests, dry runs and as the model of the others.

The store contract (`everforge.testing.store_contract`) is first true of this one.
"""

from dataclasses import dataclass, field

from everforge.errors import StoreRefused
from everforge.model.campaign import CampaignRecord, CampaignSpec, Champion
from everforge.model.session import TaskFacts
from everforge.model.trial import Trial
from everforge.store.base import Tracking
from everforge.store.fields import model_name_of, ordered


@dataclass
class _Campaign:
    """What is kept of one campaign."""

    spec: CampaignSpec
    facts: TaskFacts | None = None
    trials: dict[str, Trial] = field(default_factory=dict)
    record: CampaignRecord | None = None


class MemoryStore:
    """Keeps campaigns in dictionaries. Not shared between processes, not safe between threads."""

    def __init__(self) -> None:
        self._campaigns: dict[str, _Campaign] = {}
        # Registered model name to candidate digests, oldest first; version n is entry n - 1.
        self.versions: dict[str, list[str]] = {}

    def open_campaign(self, spec: CampaignSpec) -> Tracking:
        """Make the campaign known; one that is known already keeps its trials."""
        self._campaigns.setdefault(spec.campaign_id, _Campaign(spec)).spec = spec
        return Tracking()

    def record_facts(self, campaign_id: str, facts: TaskFacts) -> None:
        """Keep the facts. Raises StoreRefused for a campaign never opened, as all writes do."""
        self._opened(campaign_id).facts = facts

    def record_trial(self, trial: Trial) -> None:
        """Keep one finished trial; the first record of a trial id stands."""
        self._opened(trial.campaign_id).trials.setdefault(trial.trial_id, trial)

    def trials(self, campaign_id: str) -> tuple[Trial, ...]:
        """Every recorded trial in order of number; none for an unknown campaign."""
        campaign = self._campaigns.get(campaign_id)
        return ordered(campaign.trials.values()) if campaign else ()

    def register_champion(self, campaign_id: str, champion: Champion, trial: Trial) -> Champion:
        """Keep the champion as a version of `<task>-<device>`; one candidate digest is one version."""
        campaign = self._opened(campaign_id)
        self.record_trial(trial)
        name = model_name_of(campaign.spec.task.name, campaign.spec.device)
        digests = self.versions.setdefault(name, [])
        if champion.candidate_digest not in digests:
            digests.append(champion.candidate_digest)
        version = digests.index(champion.candidate_digest) + 1
        uri = f"memory:/{name}/{version}"
        return champion.model_copy(update={"run_id": trial.trial_id, "model_uri": uri})

    def record_campaign(self, record: CampaignRecord) -> None:
        """Keep where the campaign stands; the last record is the one that counts."""
        self._opened(record.campaign_id).record = record

    def campaign(self, campaign_id: str) -> CampaignRecord | None:
        """The last record of a campaign, None if none was kept."""
        campaign = self._campaigns.get(campaign_id)
        return campaign.record if campaign else None

    def flush(self) -> int:
        """Nothing ever waits."""
        return 0

    def _opened(self, campaign_id: str) -> _Campaign:
        if campaign_id not in self._campaigns:
            raise StoreRefused(f"campaign {campaign_id} was never opened in this store")
        return self._campaigns[campaign_id]
