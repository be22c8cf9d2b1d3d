"""The cluster that other tests stand on is real: controllers, CEL, field ownership, RBAC and scheduler work."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane
from kubernetes import client, config
from urllib3.exceptions import MaxRetryError

# Controllers answer in under a second; a machine under heavy load gets a hundred times that.
DEADLINE_S = 60.0
TOY = "toys.tests.everforge.dev"


def eventually(look: Callable[[], Any], what: str) -> Any:
    """What `look` returns once it is truthy; controllers work in their own time."""
    deadline = time.monotonic() + DEADLINE_S
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S:.0f} s"
        time.sleep(0.1)
    return seen


def job(name: str) -> Any:
    """A Job with one pod that would sleep."""
    container = {
        "name": "main",
        "image": "sleep",
        "resources": {"requests": {"example.dev/gpu": "1"}, "limits": {"example.dev/gpu": "1"}},
    }
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": pod}}


def pods(core: client.CoreV1Api, namespace: str) -> list[Any]:
    """The pods there are."""
    return list(core.list_namespaced_pod(namespace).items)


def test_controller_manager_makes_the_pod_of_a_job_and_collects_it_with_its_owner(
    admin: client.ApiClient, namespace: str
) -> None:
    batch, core = client.BatchV1Api(admin), client.CoreV1Api(admin)
    batch.create_namespaced_job(namespace, job("one"))
    (pod,) = eventually(lambda: pods(core, namespace), "a pod of the job")
    assert pod.metadata.owner_references[0].kind == "Job"
    batch.delete_namespaced_job("one", namespace, propagation_policy="Background")
    eventually(lambda: not pods(core, namespace), "the pod's end with its owner")


def test_scheduler_says_why_a_pod_does_not_run(admin: client.ApiClient, namespace: str) -> None:
    client.BatchV1Api(admin).create_namespaced_job(namespace, job("nowhere"))
    core = client.CoreV1Api(admin)

    def reason() -> str | None:
        conditions = [each for pod in pods(core, namespace) for each in pod.status.conditions or []]
        return next((each.reason for each in conditions if each.type == "PodScheduled"), None)

    assert eventually(reason, "a condition by the scheduler") == "Unschedulable"


@pytest.fixture(scope="module")
def toy(admin: client.ApiClient) -> Iterator[str]:
    """A custom resource with one CEL rule; gives its plural."""
    rule = {"rule": "self.least <= self.most", "message": "least must not be above most"}
    numbers = {"least": {"type": "integer"}, "most": {"type": "integer"}}
    spec = {"type": "object", "properties": numbers, "required": [*numbers], "x-kubernetes-validations": [rule]}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    plural, _, group = TOY.partition(".")
    names = {"plural": plural, "singular": "toy", "kind": "Toy"}
    extensions = client.ApiextensionsV1Api(admin)
    definition: Any = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    definition = {"metadata": {"name": TOY}, "spec": definition}
    extensions.create_custom_resource_definition(definition)

    def established() -> bool:
        status: Any = extensions.read_custom_resource_definition(TOY).status
        conditions = status.conditions or []
        return any(each.type == "Established" and each.status == "True" for each in conditions)

    eventually(established, "the toy's API")
    yield plural
    extensions.delete_custom_resource_definition(TOY)


def apply(kubectl: Callable[..., subprocess.CompletedProcess[str]], namespace: str, owner: str, spec: str) -> Any:
    """Server-side apply of a toy."""
    manifest = f"{{apiVersion: tests.everforge.dev/v1, kind: Toy, metadata: {{name: bear}}, spec: {spec}}}"
    arguments = ["apply", "--server-side", "--field-manager", owner, "--namespace", namespace, "-f", "-"]
    return kubectl(*arguments, stdin=manifest)


def test_cel_refuses_a_bad_object_with_its_message(kubectl: Any, namespace: str, toy: str) -> None:
    refused = apply(kubectl, namespace, "tests", "{least: 3, most: 2}")
    assert refused.returncode == 1
    assert "least must not be above most" in refused.stderr


def test_server_side_apply_knows_who_owns_a_field(kubectl: Any, namespace: str, toy: str) -> None:
    assert apply(kubectl, namespace, "first", "{least: 1, most: 2}").returncode == 0
    conflict = apply(kubectl, namespace, "second", "{least: 1, most: 5}")
    assert conflict.returncode == 1
    assert 'conflict with "first"' in conflict.stderr


def test_user_without_a_role_may_do_nothing(control_plane: ControlPlane, namespace: str) -> None:
    path = control_plane.kubeconfig_for("nobody", "nobody")
    api_client: Any = config.new_client_from_config(str(path))  # type: ignore[no-untyped-call]
    with api_client, pytest.raises(client.ApiException, match=r"nobody.* cannot list resource .*pods"):
        client.CoreV1Api(api_client).list_namespaced_pod(namespace)


def test_outage_of_the_api_server_is_one(
    admin: client.ApiClient, namespace: str, without_apiserver: Callable[[], AbstractContextManager[None]]
) -> None:
    core = client.CoreV1Api(admin)
    with without_apiserver(), pytest.raises(MaxRetryError):
        core.read_namespace(namespace)
    after: Any = core.read_namespace(namespace)
    assert after.metadata.name == namespace


def test_what_was_written_outlives_the_api_server(
    admin: client.ApiClient, namespace: str, restart_apiserver: Callable[[], None]
) -> None:
    core = client.CoreV1Api(admin)
    kept: Any = {"metadata": {"name": "kept"}, "data": {"a": "b"}}
    core.create_namespaced_config_map(namespace, kept)
    restart_apiserver()
    assert core.read_namespaced_config_map("kept", namespace).data == {"a": "b"}


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    # A keeper that starts one server and then dies without a chance to tidy up.
    script = (
        "import os, sys, pathlib; sys.path.insert(0, sys.argv[1]); from server_process import ServerProcess\n"
        "server = ServerProcess(['/bin/sleep', '600'], pathlib.Path(sys.argv[2])); server.start()\n"
        "name = pathlib.Path(f'/proc/{server.process.pid}/comm')\n"
        "server.wait_until(lambda: name.read_text() == 'sleep\\n', 'sleep', 30)\n"
        "print(server.process.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path / "log")]
    keeper = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert keeper.returncode == -9, keeper.stderr
    status = Path(f"/proc/{int(keeper.stdout)}/status")
    eventually(lambda: not status.exists() or "State:\tZ" in status.read_text(), "the server's end")
