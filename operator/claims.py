"""RunnerClaims of one pool: who gets a runner now, whose is taken back, and what becomes of each claim.

Claims of a pool are decided together, because they share its concurrency. Everything is told anew from the Jobs and
pods that are there, so an operator that was away, or was killed between two writes, decides as one that was not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from everforge.model.condition import condition_of
from everforge.model.device_pool import DevicePool
from everforge.model.manifest import KernelOptimization
from everforge.model.runner_claim import ClaimCondition, ClaimPhase, RunnerClaim
from everforge.operator.actions import Action, CreateDeviceTemplate, CreateJob, DeleteClaim, Requeue
from everforge.operator.attempts import deletions, retry_wait_s, time_text, tried
from everforge.operator.claim_status import Standing, status_actions
from everforge.operator.observed import Job, Observed, Pod
from everforge.operator.optimizations import is_over
from everforge.operator.pool_state import nodes_of, trouble_of_pool
from everforge.operator.runner_job import (
    device_template,
    device_template_name_of,
    runner_job,
)
from everforge.operator.settings import Settings
from everforge.operator.shares import Asking, shared_out
from everforge.operator.troubles import End, Trouble, refusal, trouble_of

# An agent reads within seconds that its claim has ended; afterwards the object says nothing to anybody.
FINISHED_CLAIM_S = 300.0


@dataclass(frozen=True)
class Turn:
    """What the limiter says of the claims of a pool, by uid; `place` counts from 1."""

    granted: frozenset[str]
    revoked: frozenset[str]
    place: dict[str, int]
    runners: int
    next_idle_s: float | None


class PoolClaims:
    """The claims of one pool, as seen at one moment."""

    def __init__(self, name: str, observed: Observed, settings: Settings, now: datetime) -> None:
        self._observed, self._settings, self._now = observed, settings, now
        self.pool = observed.pool(name)
        self._trouble = self._pool_trouble(name)
        self.claims = sorted(
            (c for c in observed.claims if c.spec.pool == name and not c.metadata.deletion_timestamp),
            key=lambda c: (c.metadata.namespace, c.metadata.name),
        )
        self._name = name
        self._occupied = self._occupants()
        self.turn = self._turns()

    def actions(self) -> Iterator[Action]:
        """What to do about every claim of the pool."""
        for claim in self.claims:
            yield from self._of_claim(claim)
        if self.turn.next_idle_s is not None:
            yield Requeue(self.turn.next_idle_s)

    @property
    def waiting(self) -> int:
        """Claims without a runner that ask for one."""
        return sum(not claim.spec.idle and not self._ended(claim) and not self._held(claim) for claim in self.claims)

    def _of_claim(self, claim: RunnerClaim) -> Iterator[Action]:
        ended = self._ended(claim)
        if ended is not None:
            yield from deletions(self._jobs(claim))
            if _is_finished(claim):
                yield from self._removal(claim)
            else:
                yield from status_actions(claim, ended, self._now)
            return
        if self._trouble is not None:
            yield from self._withdrawn(claim, self._trouble)
            return
        live = [job for job in self._jobs(claim) if not job.finished]
        if live:
            standing = self._standing_of(live[-1])
            yield from status_actions(claim, standing, self._now)
            if standing.phase is ClaimPhase.STARTING:
                yield Requeue(self._settings.trouble_check_s)
        else:
            yield from self._started(claim)

    def _ended(self, claim: RunnerClaim) -> Standing | None:
        """The end of a claim that has one: what it ended as, or what ends it now."""
        status = claim.status
        if status is not None and _is_finished(claim):
            return Standing(status.phase, status.phase.value, status.message or "")
        if claim.spec.released:
            return Standing(ClaimPhase.RELEASED, "Released", "the agent is done with the runner")
        if (why := self._orphaned(claim)) is not None:
            return Standing(ClaimPhase.RELEASED, "OwnerGone", why)
        if (claim.metadata.uid or "") in self.turn.revoked:
            why = "the runner idled while others wait; a new claim gets its turn"
            return Standing(ClaimPhase.REVOKED, "Revoked", why)
        return self._worn_out(claim)

    def _orphaned(self, claim: RunnerClaim) -> str | None:
        """Why nobody needs the runner any more."""
        owner = self._owner(claim)
        if owner is None:
            return f"KernelOptimization {claim.spec.owner.name} is gone"
        if owner.spec.suspend:
            return f"KernelOptimization {claim.spec.owner.name} is suspended"
        if is_over(owner):
            return f"KernelOptimization {claim.spec.owner.name} has ended"
        requester = claim.spec.requester
        if requester is not None and not any(self._is_requester(pod, claim) for pod in self._observed.pods):
            return f"pod {requester} of the agent is gone"
        return None

    @staticmethod
    def _is_requester(pod: Pod, claim: RunnerClaim) -> bool:
        here = pod.namespace == claim.metadata.namespace and pod.name == claim.spec.requester
        return here and pod.role == "agent" and pod.occupies

    def _worn_out(self, claim: RunnerClaim) -> Standing | None:
        endings = tried(self._jobs(claim), self._observed)
        if endings and endings[-1].end is End.DONE:
            # It told its client that it goes; that one asks again by a new claim if it needs another.
            return Standing(ClaimPhase.REVOKED, "RunnerEnded", "the runner ended by itself; a new claim gets another")
        if endings and endings[-1].end is End.REFUSED:
            told = endings[-1].told
            return Standing(ClaimPhase.FAILED, "Failed", f"the runner refuses its arguments: {told}; compare versions")
        if len(endings) >= self._settings.max_attempts:
            nodes = ", ".join(sorted({ending.node for ending in endings if ending.node})) or "no node"
            why = (
                f"{len(endings)} runners failed, on {nodes}: {endings[-1].told or 'no reason given'}; repair the nodes"
            )
            return Standing(ClaimPhase.FAILED, "Failed", why)
        return None

    def _removal(self, claim: RunnerClaim) -> Iterator[Action]:
        """Finished claims are deleted once nobody can want to read them."""
        status = claim.status
        if status is None or not status.conditions:
            return
        since = max(condition.last_transition_time for condition in status.conditions)
        left_s = FINISHED_CLAIM_S - (self._now - since).total_seconds()
        if left_s > 0:
            yield Requeue(left_s)
        else:
            yield DeleteClaim(claim.metadata.namespace, claim.metadata.name, claim.metadata.uid or "")

    def _withdrawn(self, claim: RunnerClaim, trouble: Trouble) -> Iterator[Action]:
        """A pool that is gone or not ready takes its runners with it; the claim waits for it to return."""
        if trouble.reason == "PoolNotFound":
            yield from deletions(self._jobs(claim))
        live = [job for job in self._jobs(claim) if not job.finished]
        if live and trouble.reason != "PoolNotFound":
            yield from status_actions(claim, self._standing_of(live[-1]), self._now)
            return
        yield from status_actions(claim, Standing(ClaimPhase.PENDING, trouble.reason, trouble.message), self._now)

    def _started(self, claim: RunnerClaim) -> Iterator[Action]:
        """Start a runner, if it is the claim's turn; say what it waits for, if not."""
        if claim.spec.idle:
            why = "the agent has nothing to evaluate, and asks for no runner until it has"
            yield from status_actions(claim, Standing(ClaimPhase.PENDING, "Idle", why), self._now)
            return
        jobs = self._jobs(claim)
        wait_s = retry_wait_s(jobs, self._settings, self._now)
        if wait_s > 0:
            why = f"the last runner failed; another one is started at {time_text(self._now, wait_s)}"
            yield from status_actions(claim, Standing(ClaimPhase.PENDING, "RunnerLost", why), self._now)
            yield Requeue(wait_s)
            return
        queue_name = self._queue_name(claim)
        uid = claim.metadata.uid or ""
        if queue_name is None and uid not in self.turn.granted:
            yield from status_actions(claim, self._waits(claim), self._now)
            return
        yield from self._start(claim, jobs, queue_name)

    def _start(self, claim: RunnerClaim, jobs: Sequence[Job], queue_name: str | None) -> Iterator[Action]:
        pool = self.pool
        if pool is None:
            return
        attempt = max((job.attempt for job in jobs), default=0) + 1
        manifest = runner_job(
            claim, pool, attempt, self._settings, queue_name=queue_name, avoid=self._bad_nodes(pool, jobs)
        )
        made = (manifest["metadata"]["name"], device_template_name_of(claim))
        refused = next((self._observed.refused[name] for name in made if name in self._observed.refused), None)
        if refused is not None:
            trouble = refusal(refused)
            yield from status_actions(claim, Standing(ClaimPhase.PENDING, trouble.reason, trouble.message), self._now)
            yield Requeue(self._settings.refusal_retry_s)
            return
        if pool.spec.allocation is not None and pool.spec.allocation.device_class is not None:
            yield CreateDeviceTemplate(device_template(claim, pool.spec.allocation.device_class))
        yield CreateJob(manifest)
        # The status follows when the Job is seen: its creation brings this pool back.

    def _standing_of(self, job: Job) -> Standing:
        pods = [pod for pod in self._observed.pods_of(job) if pod.occupies and not pod.deleting]
        pod = next((pod for pod in pods if pod.ready and pod.address), None)
        if job.deleting:
            return Standing(ClaimPhase.PENDING, "Ending", "the former runner is ending")
        if pod is not None:
            return Standing(ClaimPhase.BOUND, "Bound", f"runner {pod.name} serves the claim", job, pod)
        if job.suspended:
            why = f"Job {job.name} waits in Kueue's queue {job.queue_name}; without Kueue, remove queueName"
            return Standing(ClaimPhase.STARTING, "Queued", why, job)
        trouble = trouble_of(job, self._observed) or Trouble("Starting", "the runner is starting")
        return Standing(ClaimPhase.STARTING, trouble.reason, trouble.message, job, pods[0] if pods else None)

    def _waits(self, claim: RunnerClaim) -> Standing:
        place = self.turn.place.get(claim.metadata.uid or "")
        slots = self.pool.spec.concurrency if self.pool is not None else 0
        turn = f"; place {place} in the queue" if place is not None else ""
        why = f"{self.turn.runners} of {slots} runners of pool {self._name} are held{turn}"
        return Standing(ClaimPhase.PENDING, "Waiting", why)

    def _pool_trouble(self, name: str) -> Trouble | None:
        if self.pool is None:
            why = f"DevicePool {name} does not exist; create it, or name another pool: `kubectl get devicepools`"
            return Trouble("PoolNotFound", why)
        return trouble_of_pool(self.pool, self._observed.nodes)

    def _turns(self) -> Turn:
        """The limiter's word. It is asked before ends are known, so those are left out by what is certain of them."""
        self.turn = Turn(frozenset(), frozenset(), {}, 0, None)
        asking = [self._asking(claim) for claim in self.claims if self._takes_part(claim)]
        uids = {ask.uid for ask in asking}
        others = len(self._occupied - uids)
        slots = self.pool.spec.concurrency if self.pool is not None and self._trouble is None else 0
        shares = shared_out(asking, slots, others, self._now.timestamp(), self._served())
        return Turn(
            frozenset(shares.granted),
            frozenset(shares.revoked) if self._trouble is None else frozenset(),
            {uid: place for place, uid in enumerate(shares.waiting, start=1)},
            others + sum(ask.held for ask in asking),
            shares.next_idle_s,
        )

    def _served(self) -> dict[str, float]:
        """Namespace to when a runner of it last came or went, as far as claims tell: the limiter's memory of turns."""
        served: dict[str, float] = {}
        for claim in self.claims:
            status = claim.status
            bound = condition_of(status.conditions, ClaimCondition.BOUND) if status is not None else None
            if status is not None and status.attempt and bound is not None:
                before = served.get(claim.metadata.namespace, 0.0)
                served[claim.metadata.namespace] = max(before, bound.last_transition_time.timestamp())
        return served

    def _takes_part(self, claim: RunnerClaim) -> bool:
        """Whether the limiter decides about the claim now: not where Kueue does, and not while it asks for nothing."""
        if self._queue_name(claim) is not None or self._ended(claim) is not None:
            return False
        if self._held(claim):
            return True
        return not claim.spec.idle and retry_wait_s(self._jobs(claim), self._settings, self._now) <= 0

    def _asking(self, claim: RunnerClaim) -> Asking:
        owner, status = self._owner(claim), claim.status
        return Asking(
            uid=claim.metadata.uid or "",
            namespace=claim.metadata.namespace,
            priority=owner.spec.priority if owner is not None else claim.spec.priority,
            asked_s=_seconds(claim.metadata.creation_timestamp) or 0.0,
            held=self._held(claim),
            held_since_s=_seconds(status.since) if status is not None else None,
            idle_since_s=_seconds(status.idle_since) if status is not None and claim.spec.idle else None,
            idle_seconds=claim.spec.idle_seconds,
        )

    def _held(self, claim: RunnerClaim) -> bool:
        return (claim.metadata.uid or "") in self._occupied

    def _occupants(self) -> frozenset[str]:
        """Uids of claims whose runner may use a device of the pool, Kueue's left out; also of claims that are gone."""
        jobs = {
            job.owner_uid or job.uid
            for job in self._observed.jobs
            if job.role == "runner" and job.pool == self._name and not job.finished and job.queue_name is None
        }
        pods = {
            pod.claim_uid or pod.uid
            for pod in self._observed.pods
            if pod.role == "runner" and pod.pool == self._name and pod.occupies and pod.queue_name is None
        }
        return frozenset(jobs | pods)

    def _jobs(self, claim: RunnerClaim) -> tuple[Job, ...]:
        return self._observed.jobs_owned_by(claim.metadata.uid)

    def _owner(self, claim: RunnerClaim) -> KernelOptimization | None:
        wanted = (claim.metadata.namespace, claim.spec.owner.name, claim.spec.owner.uid)
        for optimization in self._observed.optimizations:
            meta = optimization.metadata
            if (meta.namespace, meta.name, meta.uid) == wanted and not meta.deletion_timestamp:
                return optimization
        return None

    def _queue_name(self, claim: RunnerClaim) -> str | None:
        owner = self._owner(claim)
        named = owner.spec.queue_name if owner is not None else None
        return named or (self.pool.spec.queue_name if self.pool is not None else None)

    def _bad_nodes(self, pool: DevicePool, jobs: Sequence[Job]) -> tuple[str, ...]:
        """Nodes to keep away from, as long as the pool has another one."""
        bad = {ending.node for ending in tried(jobs, self._observed) if ending.node and ending.end is End.MACHINE}
        others = {node.name for node in nodes_of(pool, self._observed.nodes)} - bad
        return tuple(sorted(bad)) if others else ()


def _is_finished(claim: RunnerClaim) -> bool:
    return claim.status is not None and claim.status.phase.is_finished


def _seconds(time: datetime | None) -> float | None:
    return time.timestamp() if time is not None else None
