"""The operator on a real API server with its real rights: Jobs, owners, conditions, garbage collection, recovery.

There is no node: the Job controller, the scheduler and garbage collection are Kubernetes', and the test is the kubelet.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubelet_by_hand import KubeletByHand
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from operator_process import ACCOUNT, GROUPS, ROOT, OperatorProcess, eventually

GROUP, VERSION = "everforge.dev", "v1alpha1"
KERNEL = {"speedup": "1.9", "speedupLow": "1.8", "speedupHigh": "2", "trialId": "t", "digest": "sha256:" + "0" * 64}
RECORD = {
    "campaign_id": "c",
    "name": "softmax",
    "task": "softmax",
    "task_digest": "sha256:" + "0" * 64,
    "device": "cpu",
    "state": "succeeded",
    "stop_reason": "budget spent",
    "detail": "40 trials",
}


class Objects:
    """Everforge's objects of one namespace, as a user works with them."""

    def __init__(self, admin: client.ApiClient, namespace: str, pool: str) -> None:
        self.custom, self.core = client.CustomObjectsApi(admin), client.CoreV1Api(admin)
        self.batch, self.namespace, self.pool = client.BatchV1Api(admin), namespace, pool

    def apply(self, name: str = "softmax", **spec: Any) -> dict[str, Any]:
        spec = {"task": {"inline": "class Model: ..."}, "targets": [{"devicePool": self.pool}], **spec}
        return self._create("kerneloptimizations", "KernelOptimization", name, spec)

    def claim(self, name: str, owner: dict[str, Any], **spec: Any) -> dict[str, Any]:
        meta = owner["metadata"]
        owned = {"name": meta["name"], "uid": meta["uid"]}
        spec = {"pool": self.pool, "owner": owned, "credentialDigest": "sha256:" + "c" * 64, **spec}
        return self._create("runnerclaims", "RunnerClaim", name, spec)

    def edit(self, name: str = "softmax", plural: str = "kerneloptimizations", **spec: Any) -> None:
        self.custom.patch_namespaced_custom_object(GROUP, VERSION, self.namespace, plural, name, {"spec": spec})

    def delete(self, name: str = "softmax") -> None:
        self.custom.delete_namespaced_custom_object(GROUP, VERSION, self.namespace, "kerneloptimizations", name)

    def status(self, name: str = "softmax", plural: str = "kerneloptimizations") -> dict[str, Any]:
        found = self.custom.get_namespaced_custom_object(GROUP, VERSION, self.namespace, plural, name)
        return dict(found.get("status", {}))

    def condition(self, type_: str, name: str = "softmax", plural: str = "kerneloptimizations") -> tuple[str, str]:
        conditions = self.status(name, plural).get("conditions", [])
        found = [c for c in conditions if c["type"] == type_]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    def jobs(self, role: str = "agent") -> list[Any]:
        found = self.batch.list_namespaced_job(self.namespace, label_selector=f"everforge.dev/role={role}").items
        return [job for job in found if job.metadata.deletion_timestamp is None]

    def _create(self, plural: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": name}, "spec": spec}
        return dict(self.custom.create_namespaced_custom_object(GROUP, VERSION, self.namespace, plural, body))


@pytest.fixture(scope="module")
def installed(kubectl: Any) -> None:
    """CRDs and deploy/operator.yaml, whose Deployment gets no pod to run here."""
    for path in (ROOT / "crds", ROOT / "deploy" / "operator.yaml"):
        applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path))
        assert applied.returncode == 0, applied.stderr
    kubectl("-n", "everforge-system", "scale", "deployment/everforge-operator", "--replicas=0")
    crds = [f"crd/{name}.{GROUP}" for name in ("kerneloptimizations", "devicepools", "runnerclaims")]
    waited = kubectl("wait", "--for=condition=Established", *crds)
    assert waited.returncode == 0, waited.stderr


@pytest.fixture(scope="module")
def operator(installed: None, control_plane: Any, tmp_path_factory: Any) -> Iterator[OperatorProcess]:
    """The operator, with the account of its Deployment and no other right."""
    kubeconfig = control_plane.kubeconfig_for("operator", ACCOUNT, GROUPS)
    process = OperatorProcess(kubeconfig, tmp_path_factory.mktemp("operator") / "log")
    process.start()
    yield process
    process.close()


@pytest.fixture(scope="module")
def kubelet(installed: None, admin: client.ApiClient) -> Iterator[KubeletByHand]:
    by_hand = KubeletByHand(admin)
    by_hand.add_node("paper-1", {"everforge.test/pool": "paper"})
    yield by_hand
    by_hand.remove_nodes()


@pytest.fixture
def pool(admin: client.ApiClient, kubelet: KubeletByHand, namespace: str) -> Iterator[str]:
    """A pool of one runner, on a node on paper; its name is the namespace's."""
    spec = {
        "vendor": "CPU",
        "architecture": "x86_64",
        "nodeSelector": {"everforge.test/pool": "paper"},
        "runner": {"image": "runner:test"},
    }
    body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "DevicePool", "metadata": {"name": namespace}, "spec": spec}
    custom = client.CustomObjectsApi(admin)
    custom.create_cluster_custom_object(GROUP, VERSION, "devicepools", body)
    kubelet.is_ready("paper-1")
    yield namespace
    custom.delete_cluster_custom_object(GROUP, VERSION, "devicepools", namespace)


@pytest.fixture
def admitted(kubectl: Any) -> Callable[[str], None]:
    """Gives agents their account in a namespace that takes no pods but those of Pod Security's 'restricted'."""

    def admit(name: str) -> None:
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        applied = kubectl("apply", "-n", name, "-f", str(ROOT / "deploy" / "agent-access.yaml"))
        assert applied.returncode == 0, applied.stderr

    return admit


@pytest.fixture
def objects(
    operator: OperatorProcess, admin: client.ApiClient, namespace: str, pool: str, admitted: Callable[[str], None]
) -> Objects:
    admitted(namespace)
    return Objects(admin, namespace, pool)


def test_applied_optimization_gets_its_agent_and_says_so(objects: Objects, kubelet: KubeletByHand) -> None:
    applied = objects.apply()
    (job,) = eventually(objects.jobs, "the agent's Job")
    (owner,) = job.metadata.owner_references
    assert (owner.kind, owner.uid, owner.controller) == ("KernelOptimization", applied["metadata"]["uid"], True)
    config = objects.core.read_namespaced_config_map(job.metadata.name, objects.namespace)
    assert json.loads(config.data["kerneloptimization.json"])["metadata"]["uid"] == applied["metadata"]["uid"]
    (pod,) = eventually(lambda: kubelet.pods(objects.namespace, "agent"), "the agent's pod")
    kubelet.run(pod)
    eventually(lambda: objects.condition("Progressing") == ("True", "Running"), "progress")
    kubelet.end(pod, 0, json.dumps(RECORD))
    eventually(lambda: objects.condition("Succeeded") == ("True", "BudgetExhausted"), "success")
    assert objects.status()["targets"][0]["state"] == "Succeeded"


def test_what_an_agent_reports_in_its_claim_is_seen_while_it_runs(objects: Objects, kubelet: KubeletByHand) -> None:
    objects.claim("one", objects.apply())
    (pod,) = eventually(lambda: kubelet.pods(objects.namespace, "agent"), "the agent's pod")
    kubelet.run(pod)
    for finished in (1, 2):
        said = {"trials": {"finished": finished}, "spend": {"trials": finished}, "toolchain": {"torch": "2.11.0"}}
        objects.edit("one", "runnerclaims", report=said)
        eventually(lambda: objects.status().get("trials", {}).get("finished") == finished, "the count")  # noqa: B023
    assert objects.status()["targets"][0]["trials"]["finished"] == 2
    objects.edit("one", "runnerclaims", report={"challenger": KERNEL})
    eventually(lambda: objects.status().get("unconfirmedSpeedup") == "1.9", "the challenger")
    objects.edit("one", "runnerclaims", report={"challenger": None, "champion": KERNEL})
    eventually(lambda: objects.status().get("speedup") == "1.9", "the champion")
    assert "unconfirmedSpeedup" not in objects.status()
    assert objects.condition("Succeeded") == ("Unknown", "NotFinished")
    found = objects.custom.get_cluster_custom_object(GROUP, VERSION, "devicepools", objects.pool)
    assert found["status"]["toolchain"] == {"torch": "2.11.0"}


def test_agent_that_waits_for_the_tracking_server_says_so_and_gets_its_runner_later(
    objects: Objects, kubelet: KubeletByHand
) -> None:
    applied = objects.apply()
    (pod,) = eventually(lambda: kubelet.pods(objects.namespace, "agent"), "the agent's pod")
    kubelet.run(pod)
    away = {"trackingTrouble": "MLflow at http://mlflow:5000 cannot be reached"}
    objects.claim("one", applied, requester=pod.metadata.name, idle=True, report=away)
    eventually(lambda: objects.condition("Progressing") == ("False", "TrackingServerAway"), "the condition")
    eventually(lambda: objects.condition("Bound", "one", "runnerclaims") == ("False", "Idle"), "the claim's rest")
    assert not objects.jobs("runner")
    objects.edit("one", "runnerclaims", report={"trackingTrouble": None})
    eventually(lambda: objects.condition("Progressing") == ("True", "Running"), "the condition's end")
    objects.edit("one", "runnerclaims", idle=False)
    eventually(lambda: objects.jobs("runner"), "the runner's Job")


def test_namespace_refuses_what_is_not_restricted(objects: Objects) -> None:
    loose: Any = {"metadata": {"name": "loose"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    with pytest.raises(ApiException, match="violates PodSecurity"):
        objects.core.create_namespaced_pod(objects.namespace, loose)


def test_deleted_optimization_is_collected_with_all_it_owns(objects: Objects, kubelet: KubeletByHand) -> None:
    objects.apply()
    eventually(lambda: kubelet.pods(objects.namespace, "agent"), "the agent's pod")
    objects.delete()

    def nothing_left() -> bool:
        kubelet.buries(objects.namespace)
        configs = objects.core.list_namespaced_config_map(objects.namespace, label_selector="everforge.dev/role").items
        return not objects.batch.list_namespaced_job(objects.namespace).items and not configs

    eventually(nothing_left, "the end of all it owns")


def test_missing_secret_is_said_and_its_appearance_noticed(objects: Objects) -> None:
    objects.apply(generators=["llm"], llm={"model": "m", "secretName": "keys"})
    eventually(lambda: objects.condition("Accepted") == ("False", "SecretNotFound"), "the condition")
    assert not objects.jobs()
    secret: Any = {"metadata": {"name": "keys"}, "stringData": {"api-key": "k"}}
    objects.core.create_namespaced_secret(objects.namespace, secret)
    eventually(objects.jobs, "the agent's Job")
    eventually(lambda: objects.condition("Accepted") == ("True", "Valid"), "the condition's end")


def test_missing_agent_account_is_said_and_its_appearance_noticed(
    operator: OperatorProcess, admin: client.ApiClient, namespace: str, pool: str, admitted: Callable[[str], None]
) -> None:
    objects = Objects(admin, namespace, pool)
    objects.apply()
    eventually(lambda: objects.condition("Progressing") == ("False", "ServiceAccountNotFound"), "the condition")
    admitted(namespace)
    eventually(lambda: objects.condition("Progressing")[1] != "ServiceAccountNotFound", "the condition's end")


def test_suspended_optimization_gives_its_pods_back_and_goes_on_later(objects: Objects, kubelet: KubeletByHand) -> None:
    objects.apply()
    eventually(lambda: kubelet.pods(objects.namespace, "agent"), "the agent's pod")
    objects.edit(suspend=True)

    def at_rest() -> bool:
        kubelet.buries(objects.namespace)
        return (
            objects.condition("Suspended")[0] == "True"
            and not objects.batch.list_namespaced_job(objects.namespace).items
        )

    eventually(at_rest, "rest")
    objects.edit(suspend=False)
    eventually(lambda: kubelet.pods(objects.namespace, "agent"), "the agent's pod")
    assert objects.condition("Suspended")[0] == "False"


def test_used_up_quota_is_said_and_its_raise_noticed(objects: Objects) -> None:
    quota: Any = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}}
    objects.core.create_namespaced_resource_quota(objects.namespace, quota)
    objects.apply()
    eventually(lambda: objects.condition("Progressing") == ("False", "QuotaExceeded"), "the condition")
    objects.core.delete_namespaced_resource_quota("small", objects.namespace)
    eventually(lambda: objects.condition("Progressing")[1] != "QuotaExceeded", "the condition's end")


def test_image_that_cannot_be_pulled_is_said(objects: Objects, kubelet: KubeletByHand) -> None:
    objects.apply()
    (pod,) = eventually(lambda: kubelet.pods(objects.namespace, "agent"), "the agent's pod")
    kubelet.waits(pod, "ImagePullBackOff", "no such image")
    eventually(lambda: objects.condition("Progressing") == ("False", "ImagePullFailed"), "the condition")
    kubelet.run(pod)
    eventually(lambda: objects.condition("Progressing") == ("True", "Running"), "the condition's end")


def test_two_namespaces_fill_a_pool_one_after_the_other(
    objects: Objects, kubelet: KubeletByHand, admin: client.ApiClient, admitted: Callable[[str], None]
) -> None:
    other = f"{objects.namespace}-b"
    body: Any = {"metadata": {"name": other}}
    objects.core.create_namespace(body)
    admitted(other)
    second = Objects(admin, other, objects.pool)
    try:
        objects.claim("one", objects.apply())
        eventually(lambda: objects.jobs("runner"), "the first runner")
        second.claim("two", second.apply())
        eventually(lambda: second.condition("Bound", "two", "runnerclaims") == ("False", "Waiting"), "the wait")
        assert not second.jobs("runner")
        (pod,) = eventually(lambda: kubelet.pods(objects.namespace, "runner"), "the runner's pod")
        kubelet.run(pod)
        eventually(lambda: objects.status("one", "runnerclaims").get("phase") == "Bound", "the binding")
        status = objects.status("one", "runnerclaims")
        assert status["address"] == "http://10.1.2.3:8473"
        objects.edit("one", "runnerclaims", released=True)

        def handed_over() -> bool:
            kubelet.buries(objects.namespace)
            return bool(second.jobs("runner"))

        eventually(handed_over, "the second runner")
    finally:
        objects.core.delete_namespace(other)


def test_restarted_api_server_is_found_again(objects: Objects, restart_apiserver: Callable[[], None]) -> None:
    restart_apiserver()
    objects.apply()
    eventually(objects.jobs, "the agent's Job")
    eventually(lambda: objects.condition("Accepted") == ("True", "Valid"), "the condition")


def test_killed_operator_goes_on_where_it_was(objects: Objects, operator: OperatorProcess) -> None:
    objects.apply("first")
    eventually(objects.jobs, "the agent's Job")
    before = {job.metadata.uid for job in objects.jobs()}
    operator.kill()
    objects.apply("second")
    operator.start()
    eventually(lambda: len(objects.jobs()) == 2, "the second agent's Job")
    assert before < {job.metadata.uid for job in objects.jobs()}


def test_told_to_end_it_ends_well(objects: Objects, operator: OperatorProcess) -> None:
    assert operator.stop() == 0
    operator.start()


def test_metrics_and_health_are_served(operator: OperatorProcess, objects: Objects) -> None:
    objects.apply()
    eventually(objects.jobs, "the agent's Job")
    assert operator.answers("/healthz") == (200, "ok\n")
    status, text = operator.answers("/metrics")
    assert status == 200
    assert 'everforge_reconcile_total{kind="KernelOptimization",result="ok"}' in text
    assert f'everforge_pool_devices{{pool="{objects.pool}"}} 1.0' in text


def test_operator_may_not_read_secrets(kubectl: Any, installed: None) -> None:
    for verb in ("get", "list", "watch", "update", "patch", "delete"):
        for resource in ("secrets", "configmaps"):
            asked = kubectl(
                "auth", "can-i", verb, resource, "--all-namespaces", f"--as={ACCOUNT}", f"--as-group={GROUPS[0]}"
            )
            allowed = (resource, verb) == ("configmaps", "delete")
            assert (asked.stdout.strip() == "yes") is allowed, (verb, resource)


def test_role_has_no_wildcard_and_no_way_to_more_rights() -> None:
    documents = list(yaml.safe_load_all((ROOT / "deploy" / "operator.yaml").read_text()))
    (role,) = [document for document in documents if document["kind"] == "ClusterRole"]
    for rule in role["rules"]:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
        assert not [name for name in rule["resources"] if "role" in name or "serviceaccount" in name or "/exec" in name]


def test_log_of_the_operator_names_no_defect(operator: OperatorProcess, objects: Objects) -> None:
    assert "a defect" not in Path(operator.log).read_text()
