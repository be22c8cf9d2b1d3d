"""What the operator sees of a cluster before it decides.

Everforge's own objects are the model's records; Kubernetes' objects are reduced to what decisions need. `views.py`
makes all of them from API objects, tests make them by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from everforge.model.device_pool import DevicePool
from everforge.model.manifest import KernelOptimization
from everforge.model.runner_claim import RunnerClaim

Kind = Literal["KernelOptimization", "DevicePool", "RunnerClaim"]


@dataclass(frozen=True, order=True)
class Key:
    """What one reconciliation is about. Claims are decided with their pool, for they share it."""

    kind: Literal["KernelOptimization", "DevicePool"]
    name: str
    namespace: str = ""


@dataclass(frozen=True, order=True)
class Reference:
    """A Secret or ConfigMap that an object names, with the keys it is to have; only whether it exists is ever asked."""

    kind: Literal["Secret", "ConfigMap"]
    namespace: str
    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Unreadable:
    """One of Everforge's objects that does not validate, as when it was written by another version."""

    kind: Kind
    name: str
    uid: str
    namespace: str
    generation: int
    error: str


@dataclass(frozen=True)
class Job:
    """A Job of an agent or a runner."""

    name: str
    namespace: str
    uid: str
    role: Literal["agent", "runner"]
    pool: str
    attempt: int = 1
    owner_uid: str | None = None
    spec: str = ""
    deleting: bool = False
    succeeded: bool = False
    failed: bool = False
    finished_at: datetime | None = None
    suspended: bool = False
    queue_name: str | None = None

    @property
    def finished(self) -> bool:
        """Whether no pod of it will run any more."""
        return self.succeeded or self.failed


@dataclass(frozen=True)
class Pod:
    """A pod of such a Job. `told` is its termination message; texts are empty where there is nothing to say."""

    name: str
    namespace: str
    uid: str
    role: Literal["agent", "runner"]
    job_uid: str | None = None
    pool: str = ""
    claim_uid: str | None = None
    queue_name: str | None = None
    deleting: bool = False
    phase: str = "Pending"
    ready: bool = False
    node: str | None = None
    address: str | None = None
    exit_code: int | None = None
    ended: str = ""
    told: str = ""
    waiting: str = ""
    waiting_message: str = ""
    unschedulable: str = ""

    @property
    def occupies(self) -> bool:
        """Whether it may be using a device."""
        return self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True)
class Node:
    """A node, with what it offers, what its vendor's labels say of it, and the version of its kernel."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    takes_pods: bool = True
    kernel: str = ""


@dataclass(frozen=True)
class WarningEvent:
    """A Warning that Kubernetes' own controllers attached to a Job or a pod."""

    about_uid: str
    reason: str
    message: str
    last_s: float = 0.0


@dataclass(frozen=True)
class Observed:
    """The part of a cluster that one decision is made from; `about` None is all of it.

    `refused` is what the API server just said to a Job that was to be created: name to message.
    """

    about: Key | None = None
    optimizations: tuple[KernelOptimization, ...] = ()
    pools: tuple[DevicePool, ...] = ()
    claims: tuple[RunnerClaim, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()
    nodes: tuple[Node, ...] = ()
    warnings: tuple[WarningEvent, ...] = ()
    missing: frozenset[Reference] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)

    def pool(self, name: str) -> DevicePool | None:
        """The pool of that name, unless it is missing or on its way out."""
        return next((p for p in self.pools if p.metadata.name == name and not p.metadata.deletion_timestamp), None)

    def owner_of(self, claim: RunnerClaim) -> KernelOptimization | None:
        """The KernelOptimization that a claim is made for, unless it is gone or on its way out."""
        wanted = (claim.metadata.namespace, claim.spec.owner.name, claim.spec.owner.uid)
        for optimization in self.optimizations:
            meta = optimization.metadata
            if (meta.namespace, meta.name, meta.uid) == wanted and not meta.deletion_timestamp:
                return optimization
        return None

    def pods_of(self, job: Job) -> tuple[Pod, ...]:
        """The pods of a Job, in the order of their names."""
        return tuple(sorted((pod for pod in self.pods if pod.job_uid == job.uid), key=lambda pod: pod.name))

    def jobs_owned_by(self, uid: str | None) -> tuple[Job, ...]:
        """The Jobs of an owner, in the order of their attempts."""
        owned = (job for job in self.jobs if uid is not None and job.owner_uid == uid)
        return tuple(sorted(owned, key=lambda job: (job.attempt, job.name)))

    def warnings_about(self, uid: str) -> tuple[WarningEvent, ...]:
        """Warnings about an object, the latest last."""
        return tuple(sorted((w for w in self.warnings if w.about_uid == uid), key=lambda w: w.last_s))
