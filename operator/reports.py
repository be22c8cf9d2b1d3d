"""What an agent said, as a row of the status: on its way in the report of its claim, at its end in its last words.

An agent may write no object's status. Its claim it may write, and the kubelet carries up to 4 KiB of its last words
into the pod's status; the operator reads both.
"""

from collections.abc import Iterable
from datetime import datetime

from pydantic import ValidationError

from everforge.model.agent_report import AgentReport
from everforge.model.campaign import CampaignRecord, CampaignState, StopReason
from everforge.model.kopt_status import ChampionStatus, SpendStatus, TargetState, TargetStatus, TrialCounts
from everforge.model.runner_claim import RunnerClaim

# What the condition Succeeded says of each way to end.
REASONS = {
    StopReason.TARGET: "GoalReached",
    StopReason.LIGHT: "GoalReached",
    StopReason.PLATEAU: "Plateau",
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
        "challenger": None,
        "trials": TrialCounts.of(record.trials_by_verdict),
        "spend": SpendStatus.of(record.spend),
        "start_time": before.start_time or now,
        "completion_time": now,
    }
    return before.model_copy(update=changes)


def latest_report(claims: Iterable[RunnerClaim]) -> AgentReport | None:
    """What was said last in any of the claims, None where nothing was."""
    said = [claim for claim in claims if claim.spec.report is not None]
    return max(said, key=_age_of_report).spec.report if said else None


def _age_of_report(claim: RunnerClaim) -> tuple[float, int, int]:
    """Agents follow each other, and so do their claims; those of one second are told apart by what was done."""
    made, report = claim.metadata.creation_timestamp, claim.spec.report or AgentReport()
    done = report.trials.finished + report.trials.infra_failed
    return (made.timestamp() if made is not None else 0.0, done, report.spend.seconds)


def reported_row(before: TargetStatus, report: AgentReport | None) -> TargetStatus:
    """The row of a campaign at work; without a report, what was said before stands."""
    if report is None:
        return before
    told = {name: getattr(report, name) for name in ("trials", "spend", "champion", "challenger")}
    return before.model_copy(update={**told, "run_id": report.run_id or before.run_id})


def reason_of(row: TargetStatus) -> str:
    """Why a finished row ended, as a condition's reason."""
    for why, reason in REASONS.items():
        if (row.message or "").startswith(f"{why}: "):
            return reason
    return "Finished" if row.state is TargetState.SUCCEEDED else "Failed"
