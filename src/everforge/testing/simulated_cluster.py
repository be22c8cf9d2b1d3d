"""A cluster in memory: the operator's port, and what Kubernetes' controllers and a kubelet do, one step at a time.

Tests decide when a Job gets its pod, when the pod runs and how it ends; garbage collection and foreground deletion are
as in a real cluster. What a real API server validates is tested on a real one, in tests/cluster.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from everforge.operator.cluster import Api, Refused, Resource

Object = dict[str, Any]


class Stopped(BaseException):
    """The operator was killed right after a write; no handler of errors may catch it."""


class SimulatedCluster:
    """Objects by kind, namespace and name; `writes` counts what the operator changed."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._uids = 0
        self.writes = 0
        self.stop_after: int | None = None
        self.refusing: str | None = None

    # The operator's port.

    def get(self, resource: Resource, name: str, namespace: str = "") -> Api | None:
        found = self._objects.get((resource.kind, namespace, name))
        return copy.deepcopy(found)

    def listed(self, resource: Resource, namespace: str = "", labels: str = "", fields: str = "") -> list[Api]:
        found = [o for (kind, space, _), o in sorted(self._objects.items()) if kind == resource.kind]
        if namespace:
            found = [o for o in found if o["metadata"].get("namespace") == namespace]
        wanted = dict(part.split("=") for part in labels.split(",") if part)
        found = [o for o in found if wanted.items() <= o["metadata"].get("labels", {}).items()]
        shown = dict(part.split("=") for part in fields.split(",") if part)
        return [copy.deepcopy(o) for o in found if all(o.get(field) == value for field, value in shown.items())]

    def create(self, resource: Resource, manifest: Api) -> bool:
        meta = manifest["metadata"]
        if (resource.kind, meta.get("namespace", ""), meta["name"]) in self._objects:
            return False
        if resource.kind == "Job" and self.refusing is not None:
            raise Refused(self.refusing)
        self.put(resource.kind, manifest)
        self._wrote()
        return True

    def apply_status(self, resource: Resource, manifest: Api) -> None:
        meta = manifest["metadata"]
        found = self._objects.get((resource.kind, meta.get("namespace", ""), meta["name"]))
        if found is not None and found["metadata"]["uid"] == meta["uid"]:
            found["status"] = copy.deepcopy(manifest["status"])
            self._wrote()

    def delete(self, resource: Resource, name: str, namespace: str, uid: str | None = None) -> None:
        found = self._objects.get((resource.kind, namespace, name))
        if found is None or uid not in (None, found["metadata"]["uid"]):
            return
        if resource.kind == "Job":
            found["metadata"].setdefault("deletionTimestamp", self.time())
        else:
            del self._objects[resource.kind, namespace, name]
        self._wrote()

    def could_create(self, resource: Resource, name: str, namespace: str) -> bool:
        return (resource.kind, namespace, name) not in self._objects

    def _wrote(self) -> None:
        self.writes += 1
        if self.stop_after is not None and self.writes >= self.stop_after:
            raise Stopped

    # What users do.

    def put(self, kind: str, manifest: Api) -> Object:
        """Apply an object; its uid is kept where there is one of the name, its generation counts."""
        made = copy.deepcopy(dict(manifest))
        meta = made["metadata"] = {"namespace": "", **made["metadata"]}
        if not meta["namespace"]:
            del meta["namespace"]
        key = (kind, meta.get("namespace", ""), meta["name"])
        before = self._objects.get(key)
        if before is None:
            self._uids += 1
            meta.update(uid=f"uid-{self._uids}", generation=1, creationTimestamp=self.time())
        else:
            meta.update({name: before["metadata"][name] for name in ("uid", "generation", "creationTimestamp")})
            meta["generation"] += 1
            made["status"] = before.get("status", {})
        self._objects[key] = made
        return made

    def remove(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete an object in the background; garbage collection follows by `collect`."""
        self._objects.pop((kind, namespace, name), None)

    def of_kind(self, kind: str) -> list[Object]:
        """All objects of a kind, to read and to change."""
        return [o for (k, _, _), o in sorted(self._objects.items()) if k == kind]

    def time(self) -> str:
        """Now, as Kubernetes writes it."""
        return datetime.fromtimestamp(int(self._now()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    # What Kubernetes does.

    def settle(self) -> None:
        """Let the Job controller and garbage collection do all they have to do."""
        self.collect()
        for job in self.of_kind("Job"):
            if not job["spec"].get("suspend") and not is_finished(job) and not _deleting(job) and not self._pod_of(job):
                self._make_pod(job)
        self._complete_jobs()
        self.collect()

    def collect(self) -> None:
        """Delete what is being deleted, and what has lost its owner, until nothing is left to delete."""
        while doomed := list(self._doomed()):
            for key in doomed:
                del self._objects[key]

    def _doomed(self) -> Iterator[tuple[str, str, str]]:
        alive = {o["metadata"]["uid"] for o in self._objects.values()}
        for key, found in self._objects.items():
            owners = found["metadata"].get("ownerReferences", [])
            if _deleting(found) or any(owner["uid"] not in alive for owner in owners):
                yield key

    def _make_pod(self, job: Object) -> None:
        meta = job["metadata"]
        owner = {"kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
        metadata = {
            "name": f"{meta['name']}-pod",
            "namespace": meta["namespace"],
            "labels": meta["labels"],
            "ownerReferences": [owner],
        }
        self.put("Pod", {"metadata": metadata, "spec": {}, "status": {"phase": "Pending"}})

    def _pod_of(self, job: Object) -> Object | None:
        return self._objects.get(("Pod", job["metadata"]["namespace"], f"{job['metadata']['name']}-pod"))

    def _complete_jobs(self) -> None:
        ends = {"Succeeded": "Complete", "Failed": "Failed"}
        for job in self.of_kind("Job"):
            pod = self._pod_of(job)
            if pod is not None and pod["status"]["phase"] in ends and not is_finished(job):
                self._end(job, ends[pod["status"]["phase"]])

    def _end(self, job: Object, type_: str) -> None:
        condition = {"type": type_, "status": "True", "lastTransitionTime": self.time()}
        job["status"] = {"conditions": [condition]}

    def run(self, pod: Object, node: str = "node-1") -> None:
        """Start a pod that waits."""
        if pod["status"]["phase"] != "Pending":
            return
        pod["spec"]["nodeName"] = node
        ready = [{"type": "Ready", "status": "True"}]
        pod["status"] = {"phase": "Running", "podIP": "10.0.0.1", "conditions": ready}

    def finish(self, pod: Object, exit_code: int, told: str = "") -> None:
        """End a pod that runs."""
        if pod["status"]["phase"] != "Running":
            return
        ended = {"exitCode": exit_code, "reason": "Completed" if exit_code == 0 else "Error", "message": told}
        pod["status"] = {
            "phase": "Succeeded" if exit_code == 0 else "Failed",
            "containerStatuses": [{"state": {"terminated": ended}}],
        }

    def kill(self, pod: Object) -> None:
        """Take a pod away, as `kubectl delete pod` does: its Job fails, and nobody hears its last words."""
        meta = pod["metadata"]
        self._objects.pop(("Pod", meta["namespace"], meta["name"]), None)
        job = self._objects.get(("Job", meta["namespace"], meta["ownerReferences"][0]["name"]))
        if job is not None and not is_finished(job):
            self._end(job, "Failed")


def is_finished(job: Mapping[str, Any]) -> bool:
    """Whether a Job has ended."""
    return bool(job.get("status", {}).get("conditions"))


def _deleting(found: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in found["metadata"]
