"""RunnerClaims of one pool: who gets a runner now, whose is taken back, and what becomes of each claim.

Claims of a pool are decided together, because they share its concurrency. Everything is told anew from the Jobs and
pods that are there, so an operator that was away, or was killed between two writes, decides as one that was not.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from everforge.model.device_pool import DevicePool
from everforge.model.runner_claim import ClaimPhase, RunnerClaim
from everforge.operator.actions import Action, CreateDeviceTemplate, CreateJob, Requeue
from everforge.operator.attempts import deletions, retry_wait_s, time_text, tried
from everforge.operator.claim_ends import end_of, removal
from everforge.operator.claim_status import Standing, status_actions
from everforge.operator.observed import Job, Observed
from everforge.operator.pool_state import nodes_of, trouble_of_pool
from everforge.operator.runner_job import device_template, device_template_name_of, runner_job
from everforge.operator.settings import Settings
from everforge.operator.troubles import End, Trouble, refusal, trouble_of
from everforge.operator.turns import Limiter, queue_of


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
        self.turn = Limiter(name, observed, settings, now).turn(self.claims, self._trouble is not None)

    def actions(self) -> Iterator[Action]:
        """What to do about every claim of the pool."""
        for claim in self.claims:
            yield from self._of_claim(claim)
        if self.turn.next_idle_s is not None:
            yield Requeue(self.turn.next_idle_s)

    @property
    def waiting(self) -> int:
        """Claims without a runner that ask for one."""
        asking = (claim for claim in self.claims if not claim.spec.idle and self._ended(claim) is None)
        return sum(claim.metadata.uid not in self.turn.held for claim in asking)

    def _of_claim(self, claim: RunnerClaim) -> Iterator[Action]:
        ended = self._ended(claim)
        if ended is not None:
            yield from deletions(self._jobs(claim))
            if claim.status is not None and claim.status.phase.is_finished:
                yield from removal(claim, self._now)
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
        if claim.metadata.uid in self.turn.revoked:
            why = "the runner idled while others wait; a new claim gets its turn"
            return Standing(ClaimPhase.REVOKED, "Revoked", why)
        return end_of(claim, self._observed, self._settings)

    def _withdrawn(self, claim: RunnerClaim, trouble: Trouble) -> Iterator[Action]:
        """A pool that is gone takes its runners with it, one that is not ready starts none; the claim waits for it."""
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
        queue_name = queue_of(claim, self.pool, self._observed)
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

    def _jobs(self, claim: RunnerClaim) -> tuple[Job, ...]:
        return self._observed.jobs_owned_by(claim.metadata.uid)

    def _bad_nodes(self, pool: DevicePool, jobs: Sequence[Job]) -> tuple[str, ...]:
        """Nodes to keep away from, as long as the pool has another one."""
        bad = {ending.node for ending in tried(jobs, self._observed) if ending.node and ending.end is End.MACHINE}
        others = {node.name for node in nodes_of(pool, self._observed.nodes)} - bad
        return tuple(sorted(bad)) if others else ()
