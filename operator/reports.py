"""What an agent said at its end: the campaign's record, in its pod's termination message, as a row of the status.

An agent may write no object's status. The kubelet carries up to 4 KiB of its last words into the pod's status, and the
operator reads them there.
"""

from datetime import datetime

from pydantic import ValidationError

from everforge.model.campaign import CampaignRecord, CampaignState, StopReason
from everforge.model.kopt_status import ChampionStatus, SpendStatus, TargetState, TargetStatus, TrialCounts

# What the condition Succeeded says of each way to end.
REASONS = {
    StopReason.TARGET: "GoalReached",
    StopReason.BUDGET: "BudgetExhausted",
    StopReason.EXHAUSTED: "NothingLeftToTry",
    StopReason.MACHINE: "InfraFailures",
}


def record_of(told: str) -> CampaignRecord | None:
    """The campaign's record, None where the words are something else, as a traceback is."""
    try:
        return CampaignRecord.model_validate_json(told)
    except ValidationError:
        return None


def finished_row(before: TargetStatus, record: CampaignRecord, now: datetime) -> TargetStatus | None:
    """The row of a campaign that has ended, None where the record says that it has not."""
    if not record.state.is_finished:
        return None
    state = TargetState.SUCCEEDED if record.state is CampaignState.SUCCEEDED else TargetState.FAILED
    why = record.stop_reason or StopReason.EXHAUSTED
    changes = {
        "state": state,
        "message": f"{why}: {record.detail}"[:4096],
        "run_id": record.run_id,
        "champion": ChampionStatus.of(record.champion) if record.champion is not None else None,
        "trials": TrialCounts.of(record.trials_by_verdict),
        "spend": SpendStatus.of(record.spend),
        "start_time": before.start_time or now,
        "completion_time": now,
    }
    return before.model_copy(update=changes)


def reason_of(row: TargetStatus) -> str:
    """Why a finished row ended, as a condition's reason."""
    for why, reason in REASONS.items():
        if (row.message or "").startswith(f"{why}: "):
            return reason
    return "Finished" if row.state is TargetState.SUCCEEDED else "Failed"
