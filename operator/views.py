"""From API objects, JSON as Kubernetes sends it, to what decisions need.

`observation.py` calls this with what it read; nothing here asks a cluster.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from everforge.model.device_pool import DevicePool
from everforge.model.manifest import KernelOptimization
from everforge.model.runner_claim import RunnerClaim
from everforge.operator import names
from everforge.operator.observed import Job, Node, Pod, Unreadable, WarningEvent

Api = Mapping[str, Any]
M = TypeVar("M", KernelOptimization, DevicePool, RunnerClaim)
_ROLES: dict[str, Literal["agent", "runner"]] = {names.AGENT: "agent", names.RUNNER: "runner"}


def object_of(model: type[M], raw: Api) -> M | Unreadable:
    """One of Everforge's objects; the API server has checked it, so only another version's can be unreadable."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        meta = raw["metadata"]
        return Unreadable(
            kind=raw["kind"],
            name=meta["name"],
            uid=meta.get("uid", ""),
            namespace=meta.get("namespace", ""),
            generation=meta.get("generation", 0),
            error=_first_line(error),
        )


def job_of(raw: Api) -> Job | None:
    """A Job of an agent or a runner, None for anybody else's."""
    meta, spec, status = raw["metadata"], raw.get("spec", {}), raw.get("status", {})
    labels = meta.get("labels", {})
    role = _ROLES.get(labels.get(names.ROLE, ""))
    if role is None:
        return None
    ended = {c["type"]: c for c in status.get("conditions", []) if c.get("status") == "True"}
    end = ended.get("Complete") or ended.get("Failed")
    attempt = labels.get(names.ATTEMPT, "")
    return Job(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta.get("uid", ""),
        role=role,
        pool=labels.get(names.POOL, ""),
        attempt=int(attempt) if attempt.isdigit() else 1,
        owner_uid=_controller_of(meta),
        spec=labels.get(names.SPEC, ""),
        deleting="deletionTimestamp" in meta,
        succeeded="Complete" in ended,
        failed="Failed" in ended,
        finished_at=_time((end or {}).get("lastTransitionTime")),
        suspended=bool(spec.get("suspend", False)),
        queue_name=labels.get(names.KUEUE_QUEUE),
    )


def pod_of(raw: Api) -> Pod | None:
    """A pod of such a Job, None for anybody else's."""
    meta, status = raw["metadata"], raw.get("status", {})
    labels = meta.get("labels", {})
    role = _ROLES.get(labels.get(names.ROLE, ""))
    if role is None:
        return None
    container: Api = next(iter(status.get("containerStatuses", [])), {})
    state = container.get("state", {})
    ended, waiting = state.get("terminated", {}), state.get("waiting", {})
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    return Pod(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta.get("uid", ""),
        role=role,
        job_uid=_controller_of(meta),
        pool=labels.get(names.POOL, ""),
        claim_uid=labels.get(names.CLAIM_UID),
        queue_name=labels.get(names.KUEUE_QUEUE),
        deleting="deletionTimestamp" in meta,
        phase=status.get("phase", "Pending"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        node=raw.get("spec", {}).get("nodeName"),
        address=status.get("podIP"),
        exit_code=ended.get("exitCode"),
        ended=ended.get("reason", "") or status.get("reason", ""),
        told=(ended.get("message") or status.get("message") or "").strip(),
        waiting=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else "",
    )


def node_of(raw: Api) -> Node:
    """A node; one that is cordoned or not ready takes no pods."""
    status = raw.get("status", {})
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    return Node(
        name=raw["metadata"]["name"],
        labels=raw["metadata"].get("labels", {}),
        allocatable={name: str(amount) for name, amount in status.get("allocatable", {}).items()},
        takes_pods=ready and not raw.get("spec", {}).get("unschedulable", False),
        kernel=status.get("nodeInfo", {}).get("kernelVersion", ""),
    )


def warning_of(raw: Api) -> WarningEvent:
    """A Warning about an object, from either form of Event."""
    seen = raw.get("lastTimestamp") or raw.get("eventTime") or raw["metadata"].get("creationTimestamp")
    time = _time(seen)
    return WarningEvent(
        about_uid=raw.get("involvedObject", {}).get("uid", ""),
        reason=raw.get("reason", ""),
        message=raw.get("message", ""),
        last_s=time.timestamp() if time is not None else 0.0,
    )


def _controller_of(meta: Api) -> str | None:
    return next((owner["uid"] for owner in meta.get("ownerReferences", []) if owner.get("controller")), None)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
