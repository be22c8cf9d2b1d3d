"""What a test does in a node's place on a cluster without one: pods run, get addresses, and end when it says so."""

import contextlib
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import NotFoundException

ROLE = "everforge.dev/role"


class KubeletByHand:
    """Nodes that exist on paper, and pods whose status is written by hand."""

    def __init__(self, admin: client.ApiClient) -> None:
        self._core = client.CoreV1Api(admin)
        self._nodes: list[str] = []

    def add_node(self, name: str, labels: dict[str, str]) -> None:
        """A node that is ready and takes no pods but those put there by hand."""
        taint = {"key": "everforge.test/paper", "effect": "NoSchedule"}
        body: Any = {"metadata": {"name": name, "labels": labels}, "spec": {"taints": [taint]}}
        self._core.create_node(body)
        self._nodes.append(name)
        self.is_ready(name)

    def is_ready(self, name: str) -> None:
        """A heartbeat: without one the cluster gives a node up after 40 s."""
        body: Any = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Paper"}]}}
        self._core.patch_node_status(name, body)

    def remove_nodes(self) -> None:
        """Take all paper nodes away."""
        for name in self._nodes:
            self._core.delete_node(name)

    def pods(self, namespace: str, role: str) -> list[Any]:
        """The pods of a role that are not on their way out."""
        found = self._core.list_namespaced_pod(namespace, label_selector=f"{ROLE}={role}").items
        return [pod for pod in found if pod.metadata.deletion_timestamp is None]

    def run(self, pod: Any, address: str = "10.1.2.3") -> None:
        """The pod runs and is ready."""
        conditions = [
            {"type": "Ready", "status": "True"},
            {"type": "PodScheduled", "status": "True", "reason": "ByHand"},
        ]
        self._status(pod, {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions})

    def end(self, pod: Any, exit_code: int, told: str = "") -> None:
        """The pod's container has ended."""
        ended = {"exitCode": exit_code, "reason": "Completed" if exit_code == 0 else "Error", "message": told}
        name = pod.spec.containers[0].name
        container = {"name": name, "state": {"terminated": ended}, "image": "i", "imageID": "i", "ready": False}
        phase = "Succeeded" if exit_code == 0 else "Failed"
        self._status(pod, {"phase": phase, "containerStatuses": [{**container, "restartCount": 0}]})

    def waits(self, pod: Any, reason: str, message: str) -> None:
        """The pod's container cannot start."""
        name = pod.spec.containers[0].name
        container = {"name": name, "state": {"waiting": {"reason": reason, "message": message}}}
        held = {**container, "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        scheduled = [{"type": "PodScheduled", "status": "True", "reason": "ByHand", "message": ""}]
        self._status(pod, {"phase": "Pending", "containerStatuses": [held], "conditions": scheduled})

    def buries(self, namespace: str) -> None:
        """End the deletion of pods that are being deleted, as a kubelet does once their processes are gone."""
        for pod in self._core.list_namespaced_pod(namespace).items:
            if pod.metadata.deletion_timestamp is not None:
                with contextlib.suppress(NotFoundException):  # garbage collection was faster
                    self._core.delete_namespaced_pod(pod.metadata.name, namespace, grace_period_seconds=0)

    def _status(self, pod: Any, status: dict[str, Any]) -> None:
        body: Any = {"status": status}
        self._core.patch_namespaced_pod_status(pod.metadata.name, pod.metadata.namespace, body)
