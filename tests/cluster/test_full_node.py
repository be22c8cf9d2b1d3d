"""The node that end-to-end tests stand on is real: pods run, talk, are counted against devices, and are confined."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from container_runtime import SANDBOX_IMAGE
from full_node import FullNode
from kubernetes import client, config

# A pod starts in 2 s; a machine under heavy load gets thirty times that.
DEADLINE_S = 60.0
GPU = "nvidia.com/gpu"
CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def eventually(look: Callable[[], Any], what: str) -> Any:
    """What `look` returns once it is truthy."""
    deadline = time.monotonic() + DEADLINE_S
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S:.0f} s"
        time.sleep(0.2)
    return seen


@pytest.fixture(scope="module")
def core(full_node: FullNode) -> client.CoreV1Api:
    """The API as the node's admin."""
    api_client: Any = config.new_client_from_config(str(full_node.kubeconfig))  # type: ignore[no-untyped-call]
    return client.CoreV1Api(api_client)


@pytest.fixture(scope="module")
def room(core: client.CoreV1Api) -> str:
    """A namespace under the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body: Any = {"metadata": {"name": "confined", "labels": labels}}
    core.create_namespace(body)
    # Pods are refused until the controllers have made the account they run as.
    eventually(lambda: core.list_namespaced_service_account("confined").items, "a service account")
    return "confined"


def pod(name: str, *arguments: str, gpus: int = 0, **container: Any) -> Any:
    """A pod that runs the sandbox program with arguments; without any it waits to be ended."""
    main = {
        "name": "main",
        "image": SANDBOX_IMAGE,
        "imagePullPolicy": "Never",
        "args": [*arguments],
        "securityContext": CONFINED,
        "resources": {"limits": {"cpu": "100m", "memory": "32Mi", **({GPU: str(gpus)} if gpus else {})}},
        **container,
    }
    # What fails, as a fetch does before the proxy knows the endpoint, is tried again by the kubelet.
    spec = {"containers": [main], "restartPolicy": "OnFailure", "automountServiceAccountToken": False}
    return {"metadata": {"name": name, "labels": {"name": name}}, "spec": {**spec, "terminationGracePeriodSeconds": 1}}


def phase(core: client.CoreV1Api, namespace: str, name: str) -> str:
    """Where a pod's life is."""
    seen: Any = core.read_namespaced_pod(name, namespace)
    return str(seen.status.phase)


def test_confined_pod_runs_to_completion_and_its_log_is_read(core: client.CoreV1Api, room: str) -> None:
    core.create_namespaced_pod(room, pod("speaker", "say", "forged"))
    eventually(lambda: phase(core, room, "speaker") == "Succeeded", "the pod's end")
    assert core.read_namespaced_pod_log("speaker", room) == "forged\n"


def test_pod_that_is_not_confined_is_refused(core: client.CoreV1Api, room: str) -> None:
    with pytest.raises(client.ApiException, match="violates PodSecurity"):
        core.create_namespaced_pod(room, pod("loose", securityContext={"privileged": True}))


def test_pretended_devices_are_given_to_one_pod_each(full_node: FullNode, core: client.CoreV1Api, room: str) -> None:
    full_node.pretend_devices(GPU, 1)
    core.create_namespaced_pod(room, pod("holder", gpus=1))
    eventually(lambda: phase(core, room, "holder") == "Running", "the pod with the device")
    core.create_namespaced_pod(room, pod("waiter", "say", "mine", gpus=1))

    def complaint() -> str:
        seen: Any = core.read_namespaced_pod("waiter", room)
        return " ".join(each.message or "" for each in seen.status.conditions or [])

    eventually(lambda: f"Insufficient {GPU}" in complaint(), "the scheduler's complaint")
    core.delete_namespaced_pod("holder", room)
    eventually(lambda: phase(core, room, "waiter") == "Succeeded", "the second pod's turn")


def test_pod_reaches_another_by_the_name_of_a_service(core: client.CoreV1Api, room: str) -> None:
    core.create_namespaced_pod(room, pod("server", "serve", "8080"))
    service: Any = {"metadata": {"name": "web"}, "spec": {"selector": {"name": "server"}, "ports": [{"port": 8080}]}}
    core.create_namespaced_service(room, service)
    core.create_namespaced_pod(room, pod("visitor", "fetch", f"http://web.{room}.svc.cluster.local:8080/"))
    eventually(lambda: phase(core, room, "visitor") == "Succeeded", "the visit")
    assert core.read_namespaced_pod_log("visitor", room) == "served\n"


def test_pod_asks_the_api_as_its_service_account(core: client.CoreV1Api, room: str) -> None:
    asking = pod("asking", "fetch", f"https://kubernetes.default.svc/api/v1/namespaces/{room}/pods")
    asking["spec"]["automountServiceAccountToken"] = True
    core.create_namespaced_pod(room, asking)
    eventually(lambda: phase(core, room, "asking") == "Succeeded", "the answer")
    # It may do nothing, and is told so by name.
    assert f"system:serviceaccount:{room}:default" in core.read_namespaced_pod_log("asking", room)
