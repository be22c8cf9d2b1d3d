"""The Job of an agent, and the ConfigMap it reads its campaign from: a model's key as a file, the network, no device.

`targets.py` asks for both. The agent resumes from the tracking server, so a Job of the same campaign may follow
another one at any time. Of the cluster it may use RunnerClaims of its own namespace, and nothing else.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from everforge.model.device_pool import DevicePool
from everforge.model.manifest import KernelOptimization
from everforge.operator import names
from everforge.operator.actions import Manifest
from everforge.operator.observed import Reference
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

CAMPAIGN_DIRECTORY = "/etc/everforge/campaign"
TASK_DIRECTORY = "/etc/everforge/task"
LOGIN_DIRECTORY = "/etc/everforge/login"
LLM_DIRECTORY = "/etc/everforge/llm"
MANIFEST_FILE = "kerneloptimization.json"
METRICS_PORT = 9464
# Long enough to end a trial's bookkeeping and give the runner back; a trial cut short is tried again.
GRACE_SECONDS = 60


@dataclass(frozen=True)
class Mounted:
    """A Secret or ConfigMap of the namespace that an agent reads as files: `volume` is its name in the pod."""

    volume: str
    directory: str
    source: Reference


def mounted_by(optimization: KernelOptimization) -> tuple[Mounted, ...]:
    """What the agents of an object mount beside their campaign: a task, the login for one, and the model's key."""
    spec, namespace = optimization.spec, optimization.metadata.namespace
    found = []
    if (task := spec.task.config_map) is not None:
        found.append(Mounted("task", TASK_DIRECTORY, Reference("ConfigMap", namespace, task.name, (task.key,))))
    if (login := spec.task.secret_name) is not None:
        found.append(Mounted("login", LOGIN_DIRECTORY, Reference("Secret", namespace, login, names.LOGIN_KEYS)))
    if spec.llm is not None and (key := spec.llm.secret_name) is not None:
        found.append(Mounted("llm", LLM_DIRECTORY, Reference("Secret", namespace, key, (names.API_KEY,))))
    return tuple(found)


def campaign_file(optimization: KernelOptimization, pool: DevicePool, spec: str, attempt: int) -> Manifest:
    """The ConfigMap with the object as it was applied, for one attempt on one pool."""
    meta = optimization.metadata
    manifest = optimization.model_copy(update={"status": None}).written()
    manifest["metadata"] = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "immutable": True,
        "metadata": _metadata(optimization, pool, spec, attempt),
        "data": {MANIFEST_FILE: json.dumps(manifest, sort_keys=True)},
    }


def agent_job(
    optimization: KernelOptimization,
    pool: DevicePool,
    spec: str,
    attempt: int,
    settings: Settings,
    *,
    avoid: Sequence[str] = (),
) -> Manifest:
    """The Job that runs the campaign on one pool; `spec` is the hash of what is asked, `avoid` names bad nodes."""
    metadata = _metadata(optimization, pool, spec, attempt)
    pod = _pod(optimization, pool, metadata["name"], settings)
    if avoid:
        unlike = {"key": names.HOST, "operator": "NotIn", "values": sorted(avoid)}
        # Preferred only: an agent needs no device, and on a cluster of one node it must still run.
        preference = {"weight": 100, "preference": {"matchExpressions": [unlike]}}
        pod["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
    return job(metadata, pod, GRACE_SECONDS)


def _metadata(optimization: KernelOptimization, pool: DevicePool, spec: str, attempt: int) -> dict[str, Any]:
    meta = optimization.metadata
    return {
        "name": names.agent_name(meta.name, meta.uid or "", pool.metadata.name, spec, attempt),
        "namespace": meta.namespace,
        "labels": {
            names.ROLE: names.AGENT,
            names.OPTIMIZATION: meta.name,
            names.POOL: pool.metadata.name,
            names.ATTEMPT: str(attempt),
            names.SPEC: spec,
        },
        "ownerReferences": controlled_by("KernelOptimization", meta.name, meta.uid or ""),
    }


def _pod(optimization: KernelOptimization, pool: DevicePool, config_map: str, settings: Settings) -> dict[str, Any]:
    mounted = mounted_by(optimization)
    campaign = {"name": "campaign", "configMap": {"name": config_map}}
    mounts = [_mount("campaign", CAMPAIGN_DIRECTORY), *(_mount(one.volume, one.directory) for one in mounted)]
    return {
        "serviceAccountName": settings.agent_service_account,
        "automountServiceAccountToken": True,
        "securityContext": pod_security(),
        "containers": [_container(optimization, pool, settings, mounts)],
        "volumes": [*scratch_volumes(settings.scratch_size), campaign, *map(_volume, mounted)],
    }


def _volume(mounted: Mounted) -> dict[str, Any]:
    source = mounted.source
    items = [{"key": key, "path": key} for key in source.keys]
    if source.kind == "ConfigMap":
        return {"name": mounted.volume, "configMap": {"name": source.name, "items": items}}
    # 0440 with the pod's fsGroup: the agent reads it, and nobody writes it.
    return {"name": mounted.volume, "secret": {"secretName": source.name, "items": items, "defaultMode": 0o440}}


def _mount(volume: str, directory: str) -> dict[str, Any]:
    return {"name": volume, "mountPath": directory, "readOnly": True}


def _container(
    optimization: KernelOptimization, pool: DevicePool, settings: Settings, mounts: list[dict[str, Any]]
) -> dict[str, Any]:
    limits = settings.agent_resources.to_api()
    return {
        "name": names.AGENT,
        "image": settings.agent_image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": _arguments(optimization, pool, settings),
        # NVIDIA's container runtime gives every device to a pod that asks for none, unless it says so.
        "env": environment({"NVIDIA_VISIBLE_DEVICES": "void"}),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
        "resources": {"limits": limits, "requests": dict(limits)},
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*scratch_mounts(), *mounts],
    }


def _arguments(optimization: KernelOptimization, pool: DevicePool, settings: Settings) -> list[str]:
    arguments = [
        *("--manifest", f"{CAMPAIGN_DIRECTORY}/{MANIFEST_FILE}"),
        *("--device-pool", pool.metadata.name),
        *("--device", pool.spec.vendor.device.value),
    ]
    spec = optimization.spec
    if spec.task.config_map is not None:
        arguments += ["--task-file", f"{TASK_DIRECTORY}/{spec.task.config_map.key}"]
    if spec.task.secret_name is not None:
        arguments += ["--task-login", LOGIN_DIRECTORY]
    if spec.llm is not None and spec.llm.secret_name is not None:
        arguments += ["--api-key-file", f"{LLM_DIRECTORY}/{names.API_KEY}"]
    if settings.tracking_uri is not None:
        arguments += ["--tracking-uri", settings.tracking_uri]
    return arguments
