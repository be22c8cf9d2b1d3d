"""The cluster as the operator uses it: a few verbs on a few resources, as a port.

`kubernetes_cluster.py` speaks to an API server; `everforge.testing.simulated_cluster` is one in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from everforge.errors import EverforgeError
from everforge.operator.names import GROUP, VERSION

Api = Mapping[str, Any]
# An API server that answers later than this is one that does not.
ANSWER_S = 30.0


@dataclass(frozen=True)
class Resource:
    """Where objects of a kind are: `path` is the API group's, as in /apis/batch/v1."""

    kind: str
    plural: str
    path: str
    namespaced: bool = True


OPTIMIZATIONS = Resource("KernelOptimization", "kerneloptimizations", f"/apis/{GROUP}/{VERSION}")
POOLS = Resource("DevicePool", "devicepools", f"/apis/{GROUP}/{VERSION}", namespaced=False)
CLAIMS = Resource("RunnerClaim", "runnerclaims", f"/apis/{GROUP}/{VERSION}")
JOBS = Resource("Job", "jobs", "/apis/batch/v1")
PODS = Resource("Pod", "pods", "/api/v1")
NODES = Resource("Node", "nodes", "/api/v1", namespaced=False)
EVENTS = Resource("Event", "events", "/api/v1")
SECRETS = Resource("Secret", "secrets", "/api/v1")
CONFIG_MAPS = Resource("ConfigMap", "configmaps", "/api/v1")
DEVICE_TEMPLATES = Resource("ResourceClaimTemplate", "resourceclaimtemplates", "/apis/resource.k8s.io/v1")


class ClusterUnavailable(EverforgeError):
    """The API server cannot be reached or does not answer now: try again."""


class Refused(EverforgeError):
    """The API server will not take a write, as for a quota, a policy or missing rights: its message says why."""


class Cluster(Protocol):
    """What the operator may ask of an API server. Every verb raises ClusterUnavailable; writes raise Refused."""

    def get(self, resource: Resource, name: str, namespace: str = "") -> Api | None:
        """The object, None where there is none."""

    def listed(self, resource: Resource, namespace: str = "", labels: str = "", fields: str = "") -> list[Api]:
        """The objects of a namespace, or of all; `labels` and `fields` are selectors."""

    def create(self, resource: Resource, manifest: Api) -> bool:
        """Create an object; False where one of the name is there already."""

    def apply_status(self, resource: Resource, manifest: Api) -> None:
        """Server-side apply of the status; an object that is gone or has become another one is left alone."""

    def delete(self, resource: Resource, name: str, namespace: str, uid: str | None = None) -> None:
        """Delete an object and wait for what it owns; one that is gone, or another of the name, is left alone."""

    def could_create(self, resource: Resource, name: str, namespace: str) -> bool:
        """Whether no object of the name is there, by a creation that is only rehearsed: needs no right to read."""
