"""The status of a KernelOptimization: what the operator found out, one row for each target and none for a trial.

Trials are runs in MLflow. The operator writes this by server-side apply; `kubectl get kopt` prints columns of it.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from everforge.model.base import ApiRecord, Rule
from everforge.model.budget import Spend
from everforge.model.campaign import Champion
from everforge.model.condition import Conditions
from everforge.model.scalars import Count, Decimal, Digest, DnsLabel, Timestamp, decimal_text
from everforge.model.transitions import Table, is_terminal, may_follow, transition_rule
from everforge.model.trial import Trial
from everforge.model.verdict import Verdict

MAX_TARGETS = 8
# The largest number that a Decimal of the API says.
MAX_SPEEDUP = 999_999.0
BY_POOL = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["devicePool"]}
Identifier = Annotated[str, Field(max_length=253)]


class KoptCondition(StrEnum):
    """Types of the conditions of a KernelOptimization; all are set when the operator first sees it."""

    ACCEPTED = "Accepted"
    QUOTA_RESERVED = "QuotaReserved"
    PROGRESSING = "Progressing"
    IMPROVED = "Improved"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"


class TargetState(StrEnum):
    """Where the campaign of one target stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def is_finished(self) -> bool:
        """Whether the campaign has ended for good."""
        return is_terminal(TARGET_TRANSITIONS, self)

    def may_become(self, after: "TargetState") -> bool:
        """Whether the operator may write `after` over this state."""
        return may_follow(TARGET_TRANSITIONS, self, after)


_ENDS = (TargetState.SUCCEEDED, TargetState.FAILED)
# A running campaign is pending again when its agent has lost its node.
TARGET_TRANSITIONS: Table[TargetState] = {
    TargetState.PENDING: (TargetState.RUNNING, TargetState.SUSPENDED, *_ENDS),
    TargetState.RUNNING: (TargetState.PENDING, TargetState.SUSPENDED, *_ENDS),
    TargetState.SUSPENDED: (TargetState.PENDING, TargetState.RUNNING, *_ENDS),
    TargetState.SUCCEEDED: (),
    TargetState.FAILED: (),
}


class ChallengerStatus(ApiRecord):
    """The fastest kernel of a search at work, as its trial measured it: yet to be re-measured, and so no champion."""

    speedup: Decimal = Field(description="Fastest allowed baseline over the kernel's time")
    speedup_low: Decimal = Field(description="Low end of the speedup's 95 % confidence interval")
    speedup_high: Decimal = Field(description="High end of the speedup's 95 % confidence interval")
    trial_id: Identifier = Field(description="The trial that measured it")
    digest: Digest = Field(description="Digest of the kernel's source")

    @classmethod
    def of(cls, trial: Trial) -> Self | None:
        """What a trial claims, with its numbers as text; None for one that was not timed."""
        speedup = trial.evaluation.speedup
        if speedup is None:
            return None
        return cls(
            speedup=_speedup_text(speedup.value),
            speedup_low=_speedup_text(speedup.low),
            speedup_high=_speedup_text(speedup.high),
            trial_id=trial.trial_id,
            digest=trial.candidate.digest,
        )


class ChampionStatus(ApiRecord):
    """The best verified kernel of a target, re-measured in a fresh process before it is named."""

    speedup: Decimal = Field(description="Fastest allowed baseline over the kernel's time")
    speedup_low: Decimal = Field(description="Low end of the speedup's 95 % confidence interval")
    speedup_high: Decimal = Field(description="High end of the speedup's 95 % confidence interval")
    speedup_fp32: Decimal | None = Field(None, description="Fastest fp32 baseline over the kernel's time")
    trial_id: Identifier = Field(description="The trial that found it")
    run_id: Identifier | None = Field(None, description="MLflow run of the re-measurement")
    model_uri: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Registered model version to load the kernel from"
    )
    digest: Digest = Field(description="Digest of the kernel's source")

    @classmethod
    def of(cls, champion: Champion) -> Self:
        """The champion of a campaign's record, with its numbers as text."""
        fp32 = champion.speedup_fp32
        return cls(
            speedup=_speedup_text(champion.speedup.value),
            speedup_low=_speedup_text(champion.speedup.low),
            speedup_high=_speedup_text(champion.speedup.high),
            speedup_fp32=None if fp32 is None else _speedup_text(fp32),
            trial_id=champion.trial_id,
            run_id=champion.run_id,
            model_uri=champion.model_uri,
            digest=champion.candidate_digest,
        )


class TrialCounts(ApiRecord):
    """How many trials ended, and how."""

    finished: Count = Field(0, description="Trials with a verdict on the candidate")
    correct: Count = Field(0, description="Those whose kernel computed the task")
    faster: Count = Field(0, description="Those whose kernel was correct and faster than every allowed baseline")
    refused: Count = Field(0, description="Those that broke a rule or cheated")
    infra_failed: Count = Field(0, description="Trials that a broken machine ended, without a verdict; not in finished")

    @classmethod
    def of(cls, trials_by_verdict: Mapping[Verdict, int]) -> Self:
        """The counts of a campaign's record."""

        def total(*verdicts: Verdict) -> int:
            return sum(trials_by_verdict.get(verdict, 0) for verdict in verdicts)

        return cls(
            finished=total(*(verdict for verdict in Verdict if verdict.is_final)),
            correct=total(*(verdict for verdict in Verdict if verdict.is_correct)),
            faster=total(Verdict.FASTER),
            refused=total(Verdict.REJECTED, Verdict.TAMPERED),
            infra_failed=total(Verdict.INFRA_ERROR),
        )

    def plus(self, other: "TrialCounts") -> "TrialCounts":
        """The sum of two counts, field by field."""
        return TrialCounts(**{name: getattr(self, name) + getattr(other, name) for name in TrialCounts.model_fields})


class SpendStatus(ApiRecord):
    """What has been used of the budget."""

    trials: Count = Field(0, description="Trials")
    seconds: Count = Field(0, description="Wall time, in whole seconds")
    device_seconds: Count = Field(0, description="Time a device was held by evaluations, in whole seconds")
    tokens: Count = Field(0, description="LLM tokens, prompt and completion")
    dollars: Decimal = Field("0", description="LLM cost")

    @classmethod
    def of(cls, spend: Spend) -> Self:
        """The spend of a campaign's record; times are cut to whole seconds."""
        return cls(
            trials=spend.trials,
            seconds=int(spend.seconds),
            device_seconds=int(spend.device_seconds),
            tokens=spend.tokens,
            dollars=decimal_text(spend.dollars),
        )


class TargetStatus(ApiRecord):
    """The campaign of one target."""

    RULES: ClassVar[tuple[Rule, ...]] = (transition_rule(TARGET_TRANSITIONS, "state"),)

    device_pool: DnsLabel = Field(description="Name of the target's DevicePool")
    state: TargetState = Field(TargetState.PENDING, description="Where the campaign stands; an end is final")
    message: Annotated[str, Field(max_length=4096)] | None = Field(None, description="Why it stands there")
    job_name: DnsLabel | None = Field(None, description="Job of the agent that runs the campaign")
    attempt: Count = Field(0, description="How often an agent was started for it")
    run_id: Identifier | None = Field(None, description="MLflow run of the campaign")
    champion: ChampionStatus | None = Field(None, description="Best verified kernel; absent while there is none")
    challenger: ChallengerStatus | None = Field(
        None, description="Faster than any champion so far, and not re-measured yet; absent at the end"
    )
    trials: TrialCounts = Field(TrialCounts(), description="Trials so far")
    spend: SpendStatus = Field(SpendStatus(), description="Spent so far")
    start_time: Timestamp | None = Field(None, description="When its first agent started")
    completion_time: Timestamp | None = Field(None, description="When it ended")


class KernelOptimizationStatus(ApiRecord):
    """What the operator knows of a KernelOptimization; its size depends on the targets alone."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(oldSelf.conditions) || oldSelf.conditions.all(old, old.type != 'Succeeded' || "
            "old.status == 'Unknown' || (has(self.conditions) && self.conditions.exists(new, "
            "new.type == 'Succeeded' && new.status == old.status)))",
            message="condition Succeeded is final once it is True or False",
            field="conditions",
        ),
        Rule(
            cel="!has(self.completionTime) || has(self.startTime)",
            message="completionTime needs a startTime",
            twin="_end_has_a_start",
        ),
    )

    observed_generation: Count | None = Field(None, description="Generation of the spec that this status is about")
    conditions: Conditions = Field([], description="Accepted, Progressing, Improved, Suspended, Succeeded, …")
    speedup: Decimal | None = Field(None, description="The champion's speedup; of several targets', the lowest")
    unconfirmed_speedup: Decimal | None = Field(
        None, description="What the challenger's trial measured, and nothing has confirmed; of several, the lowest"
    )
    trials: TrialCounts = Field(TrialCounts(), description="Trials of all targets")
    spend: SpendStatus = Field(SpendStatus(), description="Spent by all targets")
    targets: Annotated[list[TargetStatus], Field(max_length=MAX_TARGETS, json_schema_extra=dict(BY_POOL))] = Field(
        [], description="One row for each target"
    )
    experiment_id: Identifier | None = Field(None, description="MLflow experiment with all trials")
    start_time: Timestamp | None = Field(None, description="When the first agent started")
    completion_time: Timestamp | None = Field(None, description="When the last target ended")

    @model_validator(mode="after")
    def _end_has_a_start(self) -> Self:
        if self.completion_time is not None and self.start_time is None:
            raise ValueError("completionTime needs a startTime")
        return self


def lowest_speedup(kernels: Iterable[ChampionStatus | ChallengerStatus | None]) -> str | None:
    """What `kubectl get kopt` shows of the targets' champions, or challengers; None while there is none."""
    return min((kernel.speedup for kernel in kernels if kernel is not None), key=float, default=None)


def _speedup_text(value: float) -> str:
    """A speedup as an API field writes it; what is too large for one is as large as one says."""
    return decimal_text(min(value, MAX_SPEEDUP))
