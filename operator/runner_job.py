"""The Job of a runner: one device of a pool, one client, no network identity, nothing of the cluster's to read.

`claims.py` asks for it. What it runs is text that a model wrote, so the pod may use the device and its scratch space
only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from everforge.model.device_pool import DeviceClass, DevicePool, Vendor
from everforge.model.runner_claim import RunnerClaim
from everforge.operator import names
from everforge.operator.actions import Manifest
from everforge.operator.pod_parts import (
    container_security,
    controlled_by,
    environment,
    job,
    pod_security,
    scratch_mounts,
    scratch_volumes,
)
from everforge.operator.settings import Settings

PORT = 8473
# The runner itself ends a trial within 25 s of being told (runners/service.py).
GRACE_SECONDS = 30


def runner_job(
    claim: RunnerClaim,
    pool: DevicePool,
    attempt: int,
    settings: Settings,
    *,
    queue_name: str | None = None,
    avoid: Sequence[str] = (),
) -> Manifest:
    """The Job that serves a claim; `avoid` names nodes where it failed before."""
    labels = {
        names.ROLE: names.RUNNER,
        names.POOL: pool.metadata.name,
        names.OPTIMIZATION: claim.spec.owner.name,
        names.CLAIM_UID: claim.metadata.uid or "",
        names.ATTEMPT: str(attempt),
    }
    if queue_name is not None:
        labels[names.KUEUE_QUEUE] = queue_name
    metadata = _metadata(claim, names.runner_name(claim.metadata.name, claim.metadata.uid or "", attempt), labels)
    # Kueue starts it once it is admitted; where its webhook is missing it must not run past a quota either.
    return job(metadata, _pod(claim, pool, settings, avoid), GRACE_SECONDS, suspended=queue_name is not None)


def device_template(claim: RunnerClaim, device_class: DeviceClass) -> Manifest:
    """The ResourceClaimTemplate by which a runner's pod gets its device from a DRA driver."""
    exactly: dict[str, Any] = {"deviceClassName": device_class.name, "allocationMode": "ExactCount", "count": 1}
    if device_class.selectors:
        exactly["selectors"] = [{"cel": {"expression": expression}} for expression in device_class.selectors]
    labels = {names.ROLE: names.RUNNER, names.CLAIM_UID: claim.metadata.uid or ""}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": _metadata(claim, device_template_name_of(claim), labels),
        "spec": {"spec": {"devices": {"requests": [{"name": "device", "exactly": exactly}]}}},
    }


def device_template_name_of(claim: RunnerClaim) -> str:
    """The name of a claim's ResourceClaimTemplate."""
    return names.bounded(claim.metadata.name, claim.metadata.uid or "", "device")


def _metadata(claim: RunnerClaim, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": claim.metadata.namespace,
        "labels": dict(labels),
        "ownerReferences": controlled_by("RunnerClaim", claim.metadata.name, claim.metadata.uid or ""),
    }


def _pod(claim: RunnerClaim, pool: DevicePool, settings: Settings, avoid: Sequence[str]) -> dict[str, Any]:
    template = pool.spec.runner
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": pod_security(template.supplemental_groups),
        "containers": [_container(pool, claim.spec.credential_digest)],
        "volumes": scratch_volumes(settings.scratch_size, settings.shared_memory_size),
        "nodeSelector": dict(pool.spec.node_selector),
        "tolerations": [toleration.written() for toleration in pool.spec.tolerations],
    }
    if template.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in template.image_pull_secrets]
    if template.runtime_class_name is not None:
        pod["runtimeClassName"] = template.runtime_class_name
    if _device_class(pool) is not None:
        pod["resourceClaims"] = [{"name": "device", "resourceClaimTemplateName": device_template_name_of(claim)}]
    if avoid:
        pod["affinity"] = {"nodeAffinity": _away_from(avoid)}
    return pod


def _container(pool: DevicePool, credential: str) -> dict[str, Any]:
    template = pool.spec.runner
    limits = {**template.resources.written(), **_extended_resource(pool)}
    limits["ephemeral-storage"] = limits.pop("ephemeralStorage")
    resources: dict[str, Any] = {"limits": limits, "requests": dict(limits)}
    if _device_class(pool) is not None:
        resources["claims"] = [{"name": "device"}]
    return {
        "name": names.RUNNER,
        "image": template.image,
        "imagePullPolicy": template.image_pull_policy,
        # The digest tells a reader of the pod nothing; the token is with the agent alone.
        "args": ["--listen", f"0.0.0.0:{PORT}", "--token-digest", credential],
        "env": environment(_threads(pool)),
        "ports": [{"name": "trials", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": PORT}, "periodSeconds": 2},
        "resources": resources,
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": scratch_mounts(shared_memory=True),
    }


def _threads(pool: DevicePool) -> dict[str, str]:
    """On a CPU, as many threads as the limit pays for.

    More of them use the quota up early in each of the kernel's periods of 100 ms and wait for the next one, and what is
    timed is that wait: a library asks how many processors the node has, not how many the pod may use.
    """
    cpu = pool.spec.runner.resources.cpu
    cores = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu) if cpu[-1].isdigit() else None
    if pool.spec.vendor is not Vendor.CPU or cores is None:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, int(cores)))}


def _extended_resource(pool: DevicePool) -> dict[str, str]:
    resource = pool.spec.allocation.extended_resource if pool.spec.allocation else None
    return {} if resource is None else {resource.name: str(resource.count)}


def _device_class(pool: DevicePool) -> DeviceClass | None:
    return pool.spec.allocation.device_class if pool.spec.allocation else None


def _away_from(nodes: Sequence[str]) -> dict[str, Any]:
    unlike = {"key": names.HOST, "operator": "NotIn", "values": sorted(nodes)}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [unlike]}]}}
