"""The parts every pod of Everforge shares: Pod Security 'restricted', a read-only root, nothing that was not asked for.

`agent_job.py` and `runner_job.py` put them together. Candidates are text that a model wrote: what a pod may not do is
decided here, in one place, and a table test names each field.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from everforge.operator import names
from everforge.operator.actions import Manifest

# The user of the images; any number but 0 satisfies 'restricted'.
USER = 65532
SCRATCH = "/scratch"
# Compilers and caches write below their home; the root is read-only.
WRITABLE = {
    "HOME": SCRATCH,
    "TMPDIR": "/tmp",  # noqa: S108 - an emptyDir of the pod, not a shared directory
    "XDG_CACHE_HOME": f"{SCRATCH}/cache",
    "TRITON_CACHE_DIR": f"{SCRATCH}/triton",
    "TORCHINDUCTOR_CACHE_DIR": f"{SCRATCH}/inductor",
    "TORCH_EXTENSIONS_DIR": f"{SCRATCH}/extensions",
}


def pod_security(supplemental_groups: Sequence[int] = ()) -> dict[str, Any]:
    """The security context of a pod."""
    context: dict[str, Any] = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if supplemental_groups:
        context["supplementalGroups"] = list(supplemental_groups)
    return context


def container_security() -> dict[str, Any]:
    """The security context of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def environment(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Environment variables, the writable directories first."""
    return [{"name": name, "value": value} for name, value in {**WRITABLE, **values}.items()]


def scratch_volumes(size: str, shared_memory: str | None = None) -> list[dict[str, Any]]:
    """The places a pod may write to; shared memory counts against its memory limit."""
    volumes: list[dict[str, Any]] = [
        {"name": "scratch", "emptyDir": {"sizeLimit": size}},
        {"name": "tmp", "emptyDir": {"sizeLimit": size}},
    ]
    if shared_memory is not None:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}})
    return volumes


def scratch_mounts(shared_memory: bool = False) -> list[dict[str, Any]]:
    """Where those places are."""
    mounts: list[dict[str, Any]] = [{"name": "scratch", "mountPath": SCRATCH}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if shared_memory:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    return mounts


def controlled_by(kind: str, name: str, uid: str) -> list[dict[str, Any]]:
    """The owner reference by which garbage collection deletes an object with its owner."""
    return [
        {
            "apiVersion": names.API_VERSION,
            "kind": kind,
            "name": name,
            "uid": uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def job(metadata: Mapping[str, Any], pod: Mapping[str, Any], grace_seconds: int, suspended: bool = False) -> Manifest:
    """A Job of one pod that is never restarted by anybody but the operator.

    Evictions are no attempts: the Job itself replaces a pod that the cluster took away.
    """
    template = {
        "metadata": {"labels": metadata["labels"]},
        "spec": {
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_seconds,
            **pod,
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": dict(metadata),
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "suspend": suspended,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "template": template,
        },
    }
