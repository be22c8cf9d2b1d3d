"""Carries out actions on a cluster, one after the other, in the order in which they were decided.

It may be stopped between any two of them: what was done is seen by the next decision, what was not is decided again.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime

from everforge.operator import names
from everforge.operator.actions import (
    Action,
    CreateConfigMap,
    CreateDeviceTemplate,
    CreateJob,
    DeleteClaim,
    DeleteJob,
    EmitEvent,
    ObjectRef,
    PatchStatus,
    Requeue,
)
from everforge.operator.cluster import (
    CLAIMS,
    CONFIG_MAPS,
    DEVICE_TEMPLATES,
    EVENTS,
    JOBS,
    OPTIMIZATIONS,
    POOLS,
    Cluster,
    Refused,
    Resource,
)

RESOURCES: dict[str, Resource] = {resource.kind: resource for resource in (OPTIMIZATIONS, POOLS, CLAIMS)}
# Events of cluster-scoped objects live here, as those of nodes do.
CLUSTER_EVENTS = "default"
MAX_NOTE = 1024


class Execution:
    """Carries out the actions of one decision."""

    def __init__(self, cluster: Cluster, now: datetime) -> None:
        self._cluster, self._now = cluster, now
        self.refused: dict[str, str] = {}
        self.wrote = False

    def carry_out(self, actions: Iterable[Action]) -> float | None:
        """Do all of it; when to look again, in seconds, if not only at the next change.

        A Job that the API server refuses stops the rest: `refused` then has its name, and the decision is to be made
        anew. Raises ClusterUnavailable.
        """
        after_s = None
        for action in actions:
            if isinstance(action, Requeue):
                after_s = action.after_s
            elif not self._done(action):
                return after_s
        return after_s

    def _done(self, action: Action) -> bool:
        match action:
            case CreateConfigMap():
                return self._created(CONFIG_MAPS, action)
            case CreateDeviceTemplate():
                return self._created(DEVICE_TEMPLATES, action)
            case CreateJob():
                return self._created(JOBS, action)
            case DeleteJob():
                self._delete_job(action)
            case DeleteClaim():
                self._cluster.delete(CLAIMS, action.name, action.namespace, action.uid)
            case PatchStatus():
                self._patch(action)
            case EmitEvent():
                self._emit(action)
        return True

    def _created(self, resource: Resource, action: CreateConfigMap | CreateDeviceTemplate | CreateJob) -> bool:
        try:
            self.wrote |= self._cluster.create(resource, action.manifest)
        except Refused as refused:
            self.refused[action.manifest["metadata"]["name"]] = str(refused)
            return False
        return True

    def _delete_job(self, action: DeleteJob) -> None:
        if action.config_map:
            # Before the Job: stopped in between, the Job is seen and both are deleted again.
            self._cluster.delete(CONFIG_MAPS, action.name, action.namespace)
        self._cluster.delete(JOBS, action.name, action.namespace, action.uid)
        self.wrote = True

    def _patch(self, action: PatchStatus) -> None:
        about = action.about
        metadata: dict[str, object] = {"name": about.name, "uid": about.uid}
        if about.namespace is not None:
            metadata["namespace"] = about.namespace
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": about.kind,
            "metadata": metadata,
            "status": action.status,
        }
        self._cluster.apply_status(RESOURCES[about.kind], manifest)

    def _emit(self, action: EmitEvent) -> None:
        """Create the Event; an Event that cannot be written, as in a namespace that is being deleted, stops nothing."""
        try:
            self._cluster.create(EVENTS, event_manifest(action, self._now))
        except Refused:
            return


def event_manifest(action: EmitEvent, now: datetime) -> dict[str, object]:
    """The Event of a change; its name is the change's, so that telling it twice is telling it once."""
    about = action.about
    namespace = about.namespace or CLUSTER_EVENTS
    when = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    identity = hashlib.sha256("\0".join([about.uid, action.change]).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name[:200]}.{identity}", "namespace": namespace},
        "involvedObject": _involved(about),
        "type": action.type,
        "reason": action.reason,
        "message": action.note[:MAX_NOTE],
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
        "source": {"component": names.FIELD_MANAGER},
        "reportingComponent": names.FIELD_MANAGER,
        "reportingInstance": names.FIELD_MANAGER,
    }


def _involved(about: ObjectRef) -> dict[str, str]:
    reference = {"apiVersion": names.API_VERSION, "kind": about.kind, "name": about.name, "uid": about.uid}
    if about.namespace is not None:
        reference["namespace"] = about.namespace
    return reference
