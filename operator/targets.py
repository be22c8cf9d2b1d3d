"""One target of a KernelOptimization: the Job of its agent, started, started again, taken away, and its row.

Told anew from the Jobs and pods that are there. At most one agent of a campaign exists at a time, for two would try the
same candidates twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from everforge.model.base import digest_of
from everforge.model.campaign import CampaignRecord, StopReason
from everforge.model.condition import condition_of
from everforge.model.kopt_status import TargetState, TargetStatus
from everforge.model.manifest import KernelOptimization, Target
from everforge.model.runner_claim import ClaimCondition
from everforge.operator import names
from everforge.operator.actions import Action, CreateConfigMap, CreateJob, Requeue
from everforge.operator.agent_job import agent_job, campaign_file, mounted_by
from everforge.operator.attempts import deletions, retry_wait_s, time_text, tried
from everforge.operator.observed import Job, Observed, Reference
from everforge.operator.reports import finished_row, latest_report, record_of, reported_row
from everforge.operator.settings import Settings
from everforge.operator.troubles import End, Ending, Trouble, refusal, trouble_of

# What `trouble_of_pool` finds; a claim that waits for its turn is no trouble.
POOL_TROUBLES = ("NoNodes", "SharedDevices", "NoDevices")
# Changing these changes nothing for an agent at work.
NOT_THE_AGENTS = {"suspend", "priority", "queue_name", "retention", "targets"}


@dataclass(frozen=True)
class Verdict:
    """What is found of a target: its row, what to do, what stands in its way, and where its trials are kept."""

    row: TargetStatus
    actions: tuple[Action, ...] = ()
    trouble: Trouble | None = None
    experiment_id: str | None = None


def spec_hash(optimization: KernelOptimization, target: Target) -> str:
    """What an agent of the target is asked to do; another value asks for another agent."""
    spec = optimization.spec.model_dump(mode="json", exclude=NOT_THE_AGENTS)
    return names.short_hash(digest_of([spec, target.model_dump(mode="json")]))


class TargetDecision:
    """The decision about one target, as seen at one moment."""

    def __init__(
        self, optimization: KernelOptimization, target: Target, observed: Observed, settings: Settings, now: datetime
    ) -> None:
        self._optimization, self._target = optimization, target
        self._observed, self._settings, self._now = observed, settings, now
        self._spec = spec_hash(optimization, target)
        owned = observed.jobs_owned_by(optimization.metadata.uid)
        self._jobs = [job for job in owned if job.role == "agent" and job.pool == target.device_pool]
        self._ours = [job for job in self._jobs if job.spec == self._spec]
        self._live = [job for job in self._jobs if not job.finished]
        self._claims = [
            claim
            for claim in observed.claims
            if claim.spec.owner.uid == optimization.metadata.uid and claim.spec.pool == target.device_pool
        ]
        self._report = latest_report(self._claims)

    def decide(self, before: TargetStatus | None) -> Verdict:
        """What to do, and the row as it should read."""
        row = before or TargetStatus(device_pool=self._target.device_pool)
        if row.state.is_finished:
            return Verdict(row, tuple(deletions(self._live, config_map=True)))
        verdict = self._of_unfinished(reported_row(row, self._report))
        reported = self._report.experiment_id if self._report is not None else None
        return replace(verdict, experiment_id=verdict.experiment_id or reported)

    def _of_unfinished(self, row: TargetStatus) -> Verdict:
        endings = tried(self._ours, self._observed)
        record = record_of(endings[-1].told) if endings else None
        if (ended := self._ended(row, endings, record)) is not None:
            place = record.experiment_id if record is not None else None
            return Verdict(ended, tuple(deletions(self._live, config_map=True)), experiment_id=place)
        if self._optimization.spec.suspend:
            return Verdict(_standing(row, TargetState.SUSPENDED), tuple(deletions(self._live, config_map=True)))
        pool = self._observed.pool(self._target.device_pool)
        if pool is None:
            return self._withdrawn(row)
        outdated = [job for job in self._live if job.spec != self._spec]
        current = next((job for job in self._live if job.spec == self._spec and not job.deleting), None)
        if current is not None:
            return self._watched(row, current, outdated)
        if self._live:
            ending = Trouble("AgentEnding", "the former agent saves its work and ends")
            return Verdict(_standing(row, TargetState.PENDING), tuple(deletions(self._live, config_map=True)), ending)
        return self._started(row, endings)

    def _ended(
        self, row: TargetStatus, endings: Sequence[Ending], record: CampaignRecord | None
    ) -> TargetStatus | None:
        """The row of a target that has come to an end: the agent's word, or the operator's that it gives up."""
        if not endings:
            return None
        last = endings[-1]
        if record is not None and (finished := finished_row(row, record, self._now)) is not None:
            return finished
        if last.end is End.REFUSED:
            return self._given_up(row, last.told or "the agent refuses what it is asked to do, and does not say why")
        if len(endings) < self._settings.max_attempts:
            return None
        nodes = ", ".join(sorted({ending.node for ending in endings if ending.node})) or "no node"
        told = last.told or "no reason given"
        return self._given_up(row, f"{StopReason.MACHINE}: {len(endings)} agents failed, on {nodes}: {told}")

    def _given_up(self, row: TargetStatus, message: str) -> TargetStatus:
        start = row.start_time or self._now
        changes = {"state": TargetState.FAILED, "message": message[:4096], "challenger": None}
        return row.model_copy(update={**changes, "start_time": start, "completion_time": self._now})

    def _withdrawn(self, row: TargetStatus) -> Verdict:
        name = self._target.device_pool
        why = f"DevicePool {name} does not exist; create it: this goes on by itself"
        actions = tuple(deletions(self._live, config_map=True))
        return Verdict(_standing(row, TargetState.PENDING), actions, Trouble("PoolNotFound", why))

    def _watched(self, row: TargetStatus, job: Job, outdated: Sequence[Job]) -> Verdict:
        """An agent is there: whether it runs, and what keeps it from running."""
        runs = any(pod.phase == "Running" and not pod.deleting for pod in self._observed.pods_of(job))
        state = TargetState.RUNNING if runs else TargetState.PENDING
        row = _standing(row, state, job)
        if runs and row.start_time is None:
            row = row.model_copy(update={"start_time": self._now})
        trouble = trouble_of(job, self._observed) or self._tracking_trouble(job) or self._runner_trouble()
        # Kubernetes tells by Events, which nobody watches, why a pod is not made or a volume not mounted.
        again = () if runs else (Requeue(self._settings.trouble_check_s),)
        return Verdict(row, (*deletions(outdated, config_map=True), *again), trouble)

    def _tracking_trouble(self, job: Job) -> Trouble | None:
        """What the agent at work says of a tracking server that it waits for; what former ones said is past."""
        pods = {pod.name for pod in self._observed.pods_of(job) if pod.occupies}
        report = latest_report(claim for claim in self._claims if claim.spec.requester in pods)
        if report is None or report.tracking_trouble is None:
            return None
        why = (
            f"the agent waits for the tracking server: {report.tracking_trouble}. Start it, or correct the operator's "
            "--tracking-uri; this goes on by itself"
        )
        return Trouble("TrackingServerAway", why)

    def _runner_trouble(self) -> Trouble | None:
        """What keeps the target's runner from running: its agent waits for it."""
        for job in self._observed.jobs:
            mine = job.role == "runner" and job.pool == self._target.device_pool and not job.finished
            if mine and (found := trouble_of(job, self._observed)) is not None:
                return Trouble(f"Runner{found.reason}", f"the runner on pool {job.pool}: {found.message}")
        return self._pool_trouble()

    def _pool_trouble(self) -> Trouble | None:
        """Why the pool has no runner for a claim that waits, as the claim says it: nodes are not looked at here."""
        for claim in self._claims:
            status = claim.status
            bound = condition_of(status.conditions, ClaimCondition.BOUND) if status is not None else None
            if bound is not None and bound.reason in POOL_TROUBLES and not claim.spec.idle:
                return Trouble(bound.reason, f"pool {claim.spec.pool}: {bound.message}; this goes on by itself")
        return None

    def _started(self, row: TargetStatus, endings: Sequence[Ending]) -> Verdict:
        """Start an agent, unless something it needs is missing or the last one has only just failed."""
        row = _standing(row, TargetState.PENDING)
        if (missing := self._missing()) is not None:
            return Verdict(row, (Requeue(self._settings.reference_check_s),), missing)
        wait_s = retry_wait_s(self._ours, self._settings, self._now)
        if wait_s > 0:
            told = endings[-1].told if endings else ""
            when = time_text(self._now, wait_s)
            why = f"attempt {len(endings)} failed ({told or 'no reason given'}); the next one starts at {when}"
            return Verdict(row, (Requeue(wait_s),), Trouble("AgentFailed", why))
        return self._created(row, endings)

    def _created(self, row: TargetStatus, endings: Sequence[Ending]) -> Verdict:
        pool = self._observed.pool(self._target.device_pool)
        if pool is None:
            return self._withdrawn(row)
        attempt = max((job.attempt for job in self._ours), default=0) + 1
        bad = tuple(sorted({ending.node for ending in endings if ending.node and ending.end is End.MACHINE}))
        manifest = agent_job(self._optimization, pool, self._spec, attempt, self._settings, avoid=bad)
        refused = self._observed.refused.get(manifest["metadata"]["name"])
        if refused is not None:
            return Verdict(row, (Requeue(self._settings.refusal_retry_s),), refusal(refused))
        config_map = campaign_file(self._optimization, pool, self._spec, attempt)
        return Verdict(row, (CreateConfigMap(config_map), CreateJob(manifest)))

    def _missing(self) -> Trouble | None:
        named = (one.source for one in mounted_by(self._optimization))
        return next((missing_trouble(source) for source in named if source in self._observed.missing), None)


def missing_trouble(reference: Reference) -> Trouble:
    """What to say of a Secret or ConfigMap that is not there."""
    keys = f"the key {reference.keys[0]}" if len(reference.keys) == 1 else f"the keys {' and '.join(reference.keys)}"
    why = (
        f"{reference.kind} {reference.name} does not exist in namespace {reference.namespace}: create it with {keys}; "
        "this goes on by itself"
    )
    return Trouble(f"{reference.kind}NotFound", why)


def _standing(row: TargetStatus, state: TargetState, job: Job | None = None) -> TargetStatus:
    """The row of a target that has not ended; what was measured so far stays."""
    changes: dict[str, object] = {"state": state, "message": None, "job_name": job.name if job is not None else None}
    if job is not None:
        changes["attempt"] = max(row.attempt, job.attempt)
    return row.model_copy(update=changes)
