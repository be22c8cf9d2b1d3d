"""What a campaign amounts to: its spend over all sittings, its champion, its record.

`agents/campaign.py` calls these with what it recorded; nothing here touches a store.
"""

from collections.abc import Mapping
from functools import reduce

from everforge.model.budget import Spend
from everforge.model.campaign import (
    CampaignRecord,
    CampaignSpec,
    CampaignState,
    Champion,
    baselines_of,
)
from everforge.model.session import TaskFacts
from everforge.model.trial import Trial
from everforge.search.decision import Stop
from everforge.search.history import History
from everforge.search.lifecycle import spec_digest
from everforge.search.tallies import tallies
from everforge.store.base import Tracking


def total_spend(trials: tuple[Trial, ...], overhead: Spend) -> Spend:
    """What all sittings spent: what the trials carry, plus what none of them does."""
    return reduce(Spend.plus, (trial.spend for trial in trials), overhead)


def champion_of(history: History) -> Champion | None:
    """The confirmed champion, with the figures of its re-measurement."""
    trial = history.champion()
    if trial is None or trial.evaluation.speedup is None:
        return None
    return Champion(
        trial_id=trial.trial_id,
        candidate_digest=trial.candidate.digest,
        speedup=trial.evaluation.speedup,
        speedup_fp32=trial.evaluation.speedup_fp32,
        sol_fraction=trial.evaluation.sol_fraction,
        algebraic=trial.evaluation.algebraic,
    )


def campaign_record(
    spec: CampaignSpec,
    history: History,
    *,
    facts: TaskFacts,
    state: CampaignState,
    overhead: Spend,
    tracking: Tracking,
    wasted: Mapping[str, Spend] | None = None,
    notes: tuple[str, ...] = (),
    champion: Champion | None = None,
    stop: Stop | None = None,
) -> CampaignRecord:
    """The record of where a campaign stands; `wasted` is what each model's replies without code cost."""
    by_verdict = history.by_verdict()
    return CampaignRecord(
        campaign_id=spec.campaign_id,
        name=spec.name,
        task=spec.task.name,
        task_digest=spec.task.digest,
        device=spec.device,
        spec_digest=spec_digest(spec),
        state=state,
        stop_reason=stop.reason if stop else None,
        detail=stop.detail if stop else "",
        fault=stop.fault if stop else None,
        champion=champion,
        baselines_us=baselines_of(facts),
        trials=sum(by_verdict.values()),
        trials_by_verdict=by_verdict,
        by_generator=tallies(history, wasted or {}),
        spend=total_spend(history.trials, overhead),
        overhead=overhead,
        notes=(*facts.notes, *notes),
        tracking_uri=tracking.tracking_uri,
        experiment_id=tracking.experiment_id,
        run_id=tracking.run_id,
    )
