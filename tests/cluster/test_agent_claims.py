"""An agent asks a real API server: over TLS, with its service account's token and no more rights than it needs."""

import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from object_tables import smallest

from everforge.agents.claims import ClaimedRunner, ClaimedRunners, Wanted
from everforge.agents.cluster_api import ApiRefused, ClusterAccess, ClusterApi
from everforge.errors import EverforgeError, HarnessFault
from everforge.model.agent_report import AgentReport
from everforge.model.kopt_status import TrialCounts
from everforge.model.runner_claim import ClaimOwner

CRDS = Path(__file__).parents[2] / "crds"
GROUP, VERSION, CLAIMS = "everforge.dev", "v1alpha1", "runnerclaims"
# A restart of the API server takes seconds, minutes on a machine under heavy load.
PATIENCE_S = 120.0
DEADLINE_S = 60.0
ACCESS = CRDS.parent / "deploy" / "agent-access.yaml"
RIGHTS = next(part["rules"] for part in yaml.safe_load_all(ACCESS.read_text()) if part["kind"] == "Role")
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def definitions(kubectl: Kubectl) -> None:
    for command in (
        ["apply", "--server-side", "--force-conflicts", "-f", str(CRDS)],
        ["wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS)],
    ):
        done = kubectl(*command)
        assert done.returncode == 0, done.stderr


class Namespace:
    """A namespace with an agent's account in it, and the operator's part played by the test."""

    def __init__(self, admin: client.ApiClient, name: str, directory: Path) -> None:
        self.name = name
        self._objects = client.CustomObjectsApi(admin)
        self._core = client.CoreV1Api(admin)
        self._admin = admin
        self._directory = directory
        self.owner = self._optimization()
        self.access = self._access(RIGHTS)

    def agent(self, access: ClusterAccess | None = None) -> ClaimedRunners:
        """An agent that claims on pool `cpu`."""
        wanted = Wanted("cpu", self.owner, stem="agent", requester="agent")
        return ClaimedRunners(ClusterApi(access or self.access, PATIENCE_S), wanted, lambda _: None)

    def claim(self, name: str = "agent-1") -> dict[str, Any]:
        """The claim, once it is there."""
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                return dict(self._objects.get_namespaced_custom_object(GROUP, VERSION, self.name, CLAIMS, name))
            except client.ApiException as error:
                if error.status != 404 or time.monotonic() > deadline_s:
                    raise
            time.sleep(0.1)

    def set_status(self, name: str = "agent-1", **status: Any) -> None:
        """Write the claim's status, as the operator does."""
        body = {"status": status}
        self._objects.patch_namespaced_custom_object_status(GROUP, VERSION, self.name, CLAIMS, name, body)

    def serve(self, name: str = "agent-1") -> None:
        """Bind the claim to a runner."""
        self.set_status(
            name,
            phase="Bound",
            holder="runner-1",
            since="2026-01-01T00:00:00Z",
            address="http://127.0.0.1:9",
        )

    def delete_owner(self) -> None:
        """Delete the KernelOptimization."""
        plural, name = "kerneloptimizations", self.owner.name
        self._objects.delete_namespaced_custom_object(GROUP, VERSION, self.name, plural, name)

    def _optimization(self) -> ClaimOwner:
        made = self._objects.create_namespaced_custom_object(
            GROUP, VERSION, self.name, "kerneloptimizations", smallest("KernelOptimization")
        )
        return ClaimOwner(name=made["metadata"]["name"], uid=made["metadata"]["uid"])

    def _access(self, rights: list[dict[str, Any]]) -> ClusterAccess:
        """What a pod of the account `agent` finds in its files."""
        rbac = client.RbacAuthorizationV1Api(self._admin)
        self._core.create_namespaced_service_account(self.name, {"metadata": {"name": "agent"}})
        rbac.create_namespaced_role(self.name, {"metadata": {"name": "agent"}, "rules": rights})
        subject = {"kind": "ServiceAccount", "name": "agent", "namespace": self.name}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "agent"}
        rbac.create_namespaced_role_binding(
            self.name, {"metadata": {"name": "agent"}, "roleRef": role, "subjects": [subject]}
        )
        issued = self._core.create_namespaced_service_account_token("agent", self.name, {"spec": {}})
        token_file = self._directory / "token"
        token_file.write_text(issued.status.token)
        configuration = self._admin.configuration
        return ClusterAccess(configuration.host, self.name, token_file, Path(configuration.ssl_ca_cert))


@pytest.fixture
def here(admin: client.ApiClient, namespace: str, definitions: None, tmp_path: Path) -> Namespace:
    return Namespace(admin, namespace, tmp_path)


def starting(agent: ClaimedRunners) -> "Future[ClaimedRunner]":
    """The runner that an agent waits for in a thread of its own."""
    future: Future[ClaimedRunner] = Future()

    def start() -> None:
        try:
            future.set_result(agent())
        except EverforgeError as error:
            future.set_exception(error)

    threading.Thread(target=start, daemon=True).start()
    return future


def served(here: Namespace) -> ClaimedRunner:
    waiting = starting(here.agent())
    here.claim()
    here.serve()
    return waiting.result(DEADLINE_S)


def test_agent_claims_rests_resumes_reports_and_releases_with_its_own_rights(here: Namespace) -> None:
    agent = here.agent()
    waiting = starting(agent)
    here.claim()
    here.serve()
    runner = waiting.result(DEADLINE_S)
    assert here.claim()["spec"]["owner"]["uid"] == here.owner.uid
    runner.rest()
    assert here.claim()["spec"]["idle"] is True
    assert runner.resume()
    assert here.claim()["spec"]["idle"] is False
    agent.report(AgentReport(trials=TrialCounts(finished=3), toolchain={"torch": "2.11.0"}))
    assert here.claim()["spec"]["report"]["trials"]["finished"] == 3
    runner.close()
    assert here.claim()["spec"]["released"] is True


def test_claim_that_was_revoked_while_it_rested_is_noticed(here: Namespace) -> None:
    runner = served(here)
    runner.rest()
    here.set_status(phase="Revoked")
    assert not runner.resume()


def test_claim_that_failed_is_told_in_the_operators_words(here: Namespace) -> None:
    waiting = starting(here.agent())
    here.claim()
    here.set_status(phase="Failed", message="5 runners failed, on node-1")
    with pytest.raises(HarnessFault, match="5 runners failed, on node-1"):
        waiting.result(DEADLINE_S)


def test_claim_goes_with_its_optimization(here: Namespace) -> None:
    waiting = starting(here.agent())
    here.claim()
    here.delete_owner()
    with pytest.raises(HarnessFault, match="was deleted before it was served"):
        waiting.result(DEADLINE_S)


def test_agent_waits_through_a_restart_of_the_api_server(
    here: Namespace, restart_apiserver: Callable[[], None]
) -> None:
    waiting = starting(here.agent())
    here.claim()
    restart_apiserver()
    here.serve()
    assert waiting.result(PATIENCE_S).resume()


def test_agent_may_do_nothing_else(here: Namespace) -> None:
    api = ClusterApi(here.access, patience_s=0.0)
    with pytest.raises(ApiRefused, match='cannot get resource "pods"'):
        api.get(f"/api/v1/namespaces/{here.name}/pods/agent")
    with pytest.raises(ApiRefused, match='cannot get resource "secrets"'):
        api.get(f"/api/v1/namespaces/{here.name}/secrets/keys")
    with pytest.raises(ApiRefused, match="cannot patch resource"):
        api.merge(f"/apis/{GROUP}/{VERSION}/namespaces/{here.name}/runnerclaims/agent-1/status", {"status": {}})


def test_role_of_agents_is_to_claim() -> None:
    assert RIGHTS == [{"apiGroups": [GROUP], "resources": [CLAIMS], "verbs": ["create", "get", "patch"]}]


def test_claim_of_a_pool_that_no_name_can_have_is_refused_in_the_schemas_words(here: Namespace) -> None:
    api = ClusterApi(here.access, PATIENCE_S)
    claim = smallest("RunnerClaim")
    claim["spec"]["pool"] = "H200"
    with pytest.raises(ApiRefused, match=r"spec\.pool"):
        api.create(f"/apis/{GROUP}/{VERSION}/namespaces/{here.name}/runnerclaims", claim)
