"""Reads from a cluster what one decision needs, at the time it needs it.

Watches only say that something changed; what is so is asked of the API server itself. A cache that lags would give a
runner away twice; five reads for each decision cost less than that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from everforge.model.device_pool import DevicePool
from everforge.model.manifest import KernelOptimization
from everforge.model.runner_claim import RunnerClaim
from everforge.operator import names
from everforge.operator.agent_job import mounted_by
from everforge.operator.cluster import (
    CLAIMS,
    CONFIG_MAPS,
    EVENTS,
    JOBS,
    NODES,
    OPTIMIZATIONS,
    PODS,
    POOLS,
    SECRETS,
    Api,
    Cluster,
)
from everforge.operator.observed import Job, Key, Observed, Pod, Reference, Unreadable
from everforge.operator.optimizations import is_over
from everforge.operator.views import job_of, node_of, object_of, pod_of, warning_of


def observe(key: Key, cluster: Cluster) -> Observed:
    """The part of the cluster a key is about. Raises ClusterUnavailable."""
    if key.kind == "KernelOptimization":
        return observe_optimization(key, cluster)
    return observe_pool(key, cluster)


def observe_optimization(key: Key, cluster: Cluster) -> Observed:
    """One KernelOptimization with its pools, Jobs, pods and its agents' claims, and whether what it names exists."""
    raw = cluster.get(OPTIMIZATIONS, key.name, key.namespace)
    if raw is None:
        return Observed(about=key)
    optimization = object_of(KernelOptimization, raw)
    if isinstance(optimization, Unreadable):
        return Observed(about=key, unreadable=(optimization,))
    pools, _unreadable = _pools({target.device_pool for target in optimization.spec.targets}, cluster)
    selector = f"{names.OPTIMIZATION}={key.name}"
    jobs = _jobs(cluster.listed(JOBS, key.namespace, labels=selector))
    pods = _pods(cluster.listed(PODS, key.namespace, labels=selector))
    claims, _unreadable_claims = _claims(cluster.listed(CLAIMS, key.namespace))
    claims = tuple(claim for claim in claims if claim.spec.owner.uid == optimization.metadata.uid)
    observed = Observed(about=key, optimizations=(optimization,), pools=pools, claims=claims, jobs=jobs, pods=pods)
    warned = _with_warnings(observed, cluster)
    return replace(warned, missing=_missing(optimization, jobs, cluster))


def observe_pool(key: Key, cluster: Cluster) -> Observed:
    """One DevicePool with all claims on it, their owners, their runners, and the agents that asked."""
    pools, unreadable_pools = _pools({key.name}, cluster)
    everywhere, unreadable_claims = _claims(cluster.listed(CLAIMS))
    claims = tuple(claim for claim in everywhere if claim.spec.pool == key.name)
    jobs = _jobs(cluster.listed(JOBS, labels=f"{names.ROLE}={names.RUNNER},{names.POOL}={key.name}"))
    pods = _pods(cluster.listed(PODS, labels=f"{names.POOL}={key.name}"))
    nodes = tuple(node_of(raw) for raw in cluster.listed(NODES))
    observed = Observed(
        about=key,
        optimizations=_owners(claims, cluster),
        pools=pools,
        claims=claims,
        unreadable=(*unreadable_pools, *unreadable_claims),
        jobs=jobs,
        pods=pods,
        nodes=nodes,
    )
    return _with_warnings(observed, cluster)


def _pools(wanted: Iterable[str], cluster: Cluster) -> tuple[tuple[DevicePool, ...], tuple[Unreadable, ...]]:
    found = [object_of(DevicePool, raw) for name in sorted(wanted) if (raw := cluster.get(POOLS, name)) is not None]
    readable = tuple(pool for pool in found if isinstance(pool, DevicePool))
    return readable, tuple(pool for pool in found if isinstance(pool, Unreadable))


def _claims(raws: Iterable[Api]) -> tuple[tuple[RunnerClaim, ...], tuple[Unreadable, ...]]:
    found = [object_of(RunnerClaim, raw) for raw in raws]
    readable = tuple(claim for claim in found if isinstance(claim, RunnerClaim))
    return readable, tuple(claim for claim in found if isinstance(claim, Unreadable))


def _owners(claims: Sequence[RunnerClaim], cluster: Cluster) -> tuple[KernelOptimization, ...]:
    """The KernelOptimizations that claims are made for, as far as they exist and can be read."""
    wanted = sorted({(claim.metadata.namespace, claim.spec.owner.name) for claim in claims})
    raws = [cluster.get(OPTIMIZATIONS, name, namespace) for namespace, name in wanted]
    owners = [object_of(KernelOptimization, raw) for raw in raws if raw is not None]
    return tuple(owner for owner in owners if isinstance(owner, KernelOptimization))


def _jobs(raws: Iterable[Api]) -> tuple[Job, ...]:
    return tuple(job for raw in raws if (job := job_of(raw)) is not None)


def _pods(raws: Iterable[Api]) -> tuple[Pod, ...]:
    return tuple(pod for raw in raws if (pod := pod_of(raw)) is not None)


def _with_warnings(observed: Observed, cluster: Cluster) -> Observed:
    """With the Warnings about what does not run: only those objects' are asked for."""
    uids = {job.uid for job in observed.jobs if not job.finished and not observed.pods_of(job)}
    uids |= {pod.uid for pod in observed.pods if pod.phase == "Pending"}
    spaces = {job.namespace for job in observed.jobs if job.uid in uids}
    spaces |= {pod.namespace for pod in observed.pods if pod.uid in uids}
    raws = [raw for space in sorted(spaces) for raw in cluster.listed(EVENTS, space, fields="type=Warning")]
    warnings = (warning_of(raw) for raw in raws)
    return replace(observed, warnings=tuple(warning for warning in warnings if warning.about_uid in uids))


def _missing(optimization: KernelOptimization, jobs: Sequence[Job], cluster: Cluster) -> frozenset[Reference]:
    """Which of its Secrets and ConfigMaps are not there; asked only while an agent is about to be started."""
    agents = {job.pool for job in jobs if job.role == "agent" and not job.finished}
    if is_over(optimization) or all(target.device_pool in agents for target in optimization.spec.targets):
        return frozenset()
    return frozenset(one.source for one in mounted_by(optimization) if _is_missing(one.source, cluster))


def _is_missing(reference: Reference, cluster: Cluster) -> bool:
    resource = SECRETS if reference.kind == "Secret" else CONFIG_MAPS
    return cluster.could_create(resource, reference.name, reference.namespace)
