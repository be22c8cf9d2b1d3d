"""What the operator may do to a cluster, as values: `decide` returns them, `execution.py` carries them out.

Every action may be carried out twice, and may be lost: what is decided next is decided from what is seen then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class ObjectRef:
    """The object an action or an Event is about."""

    kind: Literal["KernelOptimization", "DevicePool", "RunnerClaim"]
    name: str
    uid: str
    namespace: str | None = None


@dataclass(frozen=True)
class CreateJob:
    """Create a Job; one of that name that is there already is the same one."""

    manifest: Manifest


@dataclass(frozen=True)
class CreateConfigMap:
    """Create the ConfigMap an agent reads its campaign from."""

    manifest: Manifest


@dataclass(frozen=True)
class CreateDeviceTemplate:
    """Create the ResourceClaimTemplate by which a runner gets its device from a DRA driver."""

    manifest: Manifest


@dataclass(frozen=True)
class DeleteJob:
    """Delete a Job with its pods, waiting for them, and first the ConfigMap of the same name if it has one."""

    namespace: str
    name: str
    uid: str
    config_map: bool = False


@dataclass(frozen=True)
class DeleteClaim:
    """Delete a claim whose agent is gone."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class PatchStatus:
    """Apply the operator's fields of a status on the server's side."""

    about: ObjectRef
    status: Manifest


@dataclass(frozen=True)
class EmitEvent:
    """Tell of a change; `change` says from what to what, so that telling it twice is telling it once."""

    about: ObjectRef
    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    change: str


@dataclass(frozen=True)
class Requeue:
    """Look at this again after a time, though nothing may have changed by then."""

    after_s: float


Action = (
    CreateJob | CreateConfigMap | CreateDeviceTemplate | DeleteJob | DeleteClaim | PatchStatus | EmitEvent | Requeue
)
