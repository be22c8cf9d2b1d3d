"""Every field by which a pod is confined, one row each: what is not in this table is not promised."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from everforge.model.device_pool import DevicePool
from everforge.model.manifest import KernelOptimization
from everforge.model.runner_claim import RunnerClaim
from everforge.operator.agent_job import agent_job, campaign_file
from everforge.operator.runner_job import device_template, runner_job
from everforge.operator.settings import Settings

Make = Callable[..., dict[str, Any]]
CREDENTIAL = "sha256:" + "c" * 64
GPU = {
    "vendor": "NVIDIA",
    "architecture": "sm_90",
    "nodeSelector": {"gpu": "h200"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "allocation": {"extendedResource": {"name": "nvidia.com/gpu", "count": 1}},
    "runner": {
        "image": "runner:1",
        "imagePullPolicy": "Never",
        "imagePullSecrets": ["registry"],
        "runtimeClassName": "nvidia",
        "supplementalGroups": [44],
    },
}


def at(found: Any, path: str) -> Any:
    """The value at a path such as spec.template.spec.containers.0.image; None where there is none."""
    for part in path.split("."):
        if isinstance(found, list):
            found = found[int(part)] if int(part) < len(found) else None
        elif found is not None:
            found = found.get(part.replace("~", "."))
    return found


@pytest.fixture
def claim() -> RunnerClaim:
    return RunnerClaim.model_validate(
        {
            "apiVersion": "everforge.dev/v1alpha1",
            "kind": "RunnerClaim",
            "metadata": {"name": "one", "namespace": "team-a", "uid": "claim-uid"},
            "spec": {
                "pool": "gpu",
                "owner": {"name": "softmax", "uid": "kopt-uid"},
                "credentialDigest": CREDENTIAL,
            },
        }
    )


@pytest.fixture
def runner(make: Make, claim: RunnerClaim) -> Any:
    pool = DevicePool.model_validate(make("dpool", "gpu", **GPU))
    return runner_job(claim, pool, 2, Settings(), avoid=("bad-node",))


@pytest.fixture
def optimization(make: Make) -> KernelOptimization:
    spec = {
        "task": {"configMap": {"name": "tasks", "key": "softmax.py"}},
        "generators": ["llm"],
        "llm": {"model": "m", "secretName": "keys"},
    }
    applied = make("kopt", pools=("gpu",), **spec)
    applied["metadata"]["uid"] = "kopt-uid"
    return KernelOptimization.model_validate(applied)


@pytest.fixture
def agent(make: Make, optimization: KernelOptimization) -> Any:
    pool = DevicePool.model_validate(make("dpool", "gpu", **GPU))
    settings = Settings(agent_image="agent:1", tracking_uri="http://mlflow:5000")
    return agent_job(optimization, pool, "spec", 1, settings, avoid=("bad-node",))


POD, BOX = "spec.template.spec", "spec.template.spec.containers.0"
BOTH = {
    "spec.backoffLimit": 0,
    "spec.parallelism": 1,
    "spec.podFailurePolicy.rules.0.action": "Ignore",
    "spec.podFailurePolicy.rules.0.onPodConditions.0.type": "DisruptionTarget",
    "spec.podReplacementPolicy": "Failed",
    "metadata.namespace": "team-a",
    "metadata.finalizers": None,
    "metadata.ownerReferences.0.controller": True,
    "metadata.ownerReferences.0.blockOwnerDeletion": True,
    f"{POD}.restartPolicy": "Never",
    f"{POD}.enableServiceLinks": False,
    f"{POD}.hostNetwork": None,
    f"{POD}.hostPID": None,
    f"{POD}.hostIPC": None,
    f"{POD}.securityContext.runAsNonRoot": True,
    f"{POD}.securityContext.runAsUser": 65532,
    f"{POD}.securityContext.runAsGroup": 65532,
    f"{POD}.securityContext.fsGroup": 65532,
    f"{POD}.securityContext.seccompProfile": {"type": "RuntimeDefault"},
    f"{POD}.volumes.0.emptyDir.sizeLimit": "4Gi",
    f"{BOX}.securityContext.allowPrivilegeEscalation": False,
    f"{BOX}.securityContext.privileged": False,
    f"{BOX}.securityContext.readOnlyRootFilesystem": True,
    f"{BOX}.securityContext.capabilities": {"drop": ["ALL"]},
    f"{BOX}.terminationMessagePolicy": "FallbackToLogsOnError",
    f"{POD}.containers.1": None,
    f"{POD}.initContainers": None,
}
RUNNER = {
    "metadata.ownerReferences.0.kind": "RunnerClaim",
    "metadata.ownerReferences.0.uid": "claim-uid",
    f"{POD}.automountServiceAccountToken": False,
    f"{POD}.serviceAccountName": None,
    f"{POD}.runtimeClassName": "nvidia",
    f"{POD}.nodeSelector": {"gpu": "h200"},
    f"{POD}.tolerations.0.key": "nvidia.com/gpu",
    f"{POD}.imagePullSecrets": [{"name": "registry"}],
    f"{POD}.securityContext.supplementalGroups": [44],
    f"{POD}.volumes.2.emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"},
    f"{POD}.volumes.3": None,
    f"{BOX}.image": "runner:1",
    f"{BOX}.imagePullPolicy": "Never",
    f"{BOX}.resources.limits": {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "8Gi", "nvidia.com/gpu": "1"},
    f"{BOX}.resources.requests": {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "8Gi", "nvidia.com/gpu": "1"},
    f"{BOX}.readinessProbe.httpGet.path": "/readyz",
    f"{BOX}.args": ["--listen", "0.0.0.0:8473", "--token-digest", CREDENTIAL],
    f"{BOX}.volumeMounts.3": None,
}
AGENT = {
    "metadata.ownerReferences.0.kind": "KernelOptimization",
    "metadata.ownerReferences.0.uid": "kopt-uid",
    f"{POD}.serviceAccountName": "everforge-agent",
    f"{POD}.automountServiceAccountToken": True,
    f"{POD}.runtimeClassName": None,
    f"{POD}.nodeSelector": None,
    f"{POD}.resourceClaims": None,
    f"{BOX}.image": "agent:1",
    f"{BOX}.resources.limits": {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "2Gi"},
    f"{BOX}.resources.requests": {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "2Gi"},
    f"{BOX}.envFrom": None,
}


@pytest.mark.parametrize("path", BOTH)
def test_agent_and_runner_are_confined_alike(path: str, agent: Any, runner: Any) -> None:
    assert (at(agent, path), at(runner, path)) == (BOTH[path], BOTH[path])


@pytest.mark.parametrize("path", RUNNER)
def test_runner_has_its_device_and_nothing_of_the_clusters(path: str, runner: Any) -> None:
    assert at(runner, path) == RUNNER[path]


@pytest.mark.parametrize("path", AGENT)
def test_agent_has_its_account_and_no_device(path: str, agent: Any) -> None:
    assert at(agent, path) == AGENT[path]


def test_the_models_key_is_a_file_and_never_in_the_environment(agent: Any) -> None:
    box = at(agent, BOX)
    volume = next(volume for volume in at(agent, f"{POD}.volumes") if volume["name"] == "llm")
    assert volume["secret"] == {
        "secretName": "keys",
        "items": [{"key": "api-key", "path": "api-key"}],
        "defaultMode": 0o440,
    }
    assert "--api-key-file" in box["args"]
    assert not [variable for variable in box["env"] if "valueFrom" in variable]


def test_login_of_a_private_task_is_a_file_of_the_agent_alone(make: Make, runner: Any) -> None:
    task = {"oci": "registry.example/tasks@sha256:" + "0" * 64, "secretName": "task-login"}
    applied = make("kopt", pools=("gpu",), task=task)
    applied["metadata"]["uid"] = "kopt-uid"
    pool = DevicePool.model_validate(make("dpool", "gpu", **GPU))
    job = agent_job(KernelOptimization.model_validate(applied), pool, "spec", 1, Settings())
    volume = next(volume for volume in at(job, f"{POD}.volumes") if volume["name"] == "login")
    assert volume["secret"] == {
        "secretName": "task-login",
        "items": [{"key": key, "path": key} for key in ("task-username", "task-password")],
        "defaultMode": 0o440,
    }
    arguments = at(job, f"{BOX}.args")
    assert arguments[arguments.index("--task-login") + 1] == "/etc/everforge/login"
    mounts = {mount["name"]: mount for mount in at(job, f"{BOX}.volumeMounts")}
    assert mounts["login"] == {"name": "login", "mountPath": "/etc/everforge/login", "readOnly": True}
    assert "task-login" not in json.dumps(runner)


def test_agent_gets_the_arguments_its_command_knows(agent: Any) -> None:
    arguments = at(agent, f"{BOX}.args")
    assert dict(zip(arguments[::2], arguments[1::2], strict=True)) == {
        "--manifest": "/etc/everforge/campaign/kerneloptimization.json",
        "--device-pool": "gpu",
        "--device": "cuda",
        "--task-file": "/etc/everforge/task/softmax.py",
        "--api-key-file": "/etc/everforge/llm/api-key",
        "--tracking-uri": "http://mlflow:5000",
    }


def test_no_pod_mounts_the_host_and_a_runner_nothing_of_the_clusters(agent: Any, runner: Any) -> None:
    def kinds(pod: Any) -> set[str]:
        return {kind for volume in at(pod, f"{POD}.volumes") for kind in set(volume) - {"name"}}

    assert kinds(agent) == {"emptyDir", "configMap", "secret"}
    assert kinds(runner) == {"emptyDir"}


def test_broken_nodes_are_shunned_by_runners_and_disliked_by_agents(agent: Any, runner: Any) -> None:
    affinity = f"{POD}.affinity.nodeAffinity"
    required = at(runner, f"{affinity}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms")
    preferred = at(agent, f"{affinity}.preferredDuringSchedulingIgnoredDuringExecution")
    for terms in (required, [preferred[0]["preference"]]):
        assert terms[0]["matchExpressions"] == [
            {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["bad-node"]}
        ]


def test_dynamically_allocated_device_comes_by_a_template(make: Make, claim: RunnerClaim) -> None:
    spec = {**GPU, "allocation": {"deviceClass": {"name": "gpu.nvidia.com", "selectors": ["true"]}}}
    pool = DevicePool.model_validate(make("dpool", "gpu", **spec))
    job = runner_job(claim, pool, 1, Settings())
    device_class = pool.spec.allocation.device_class if pool.spec.allocation else None
    assert device_class is not None
    template = device_template(claim, device_class)
    assert at(job, f"{POD}.resourceClaims.0.resourceClaimTemplateName") == at(template, "metadata.name")
    assert at(job, f"{BOX}.resources.claims") == [{"name": "device"}]
    assert "nvidia.com/gpu" not in at(job, f"{BOX}.resources.limits")
    request = at(template, "spec.spec.devices.requests.0.exactly")
    assert (request["deviceClassName"], request["count"]) == ("gpu.nvidia.com", 1)


def test_agents_manifest_is_the_object_without_its_status(make: Make, optimization: KernelOptimization) -> None:
    pool = DevicePool.model_validate(make("dpool", "gpu", **GPU))
    config = campaign_file(optimization, pool, "spec", 1)
    manifest = json.loads(at(config, "data.kerneloptimization~json"))
    assert manifest["metadata"] == {"name": "softmax", "namespace": "team-a", "uid": "kopt-uid"}
    assert "status" not in manifest
    assert KernelOptimization.model_validate(manifest).spec == optimization.spec


@pytest.mark.parametrize("name", ["k" * 40, "a", "x-" * 19 + "y"])
def test_names_fit_whatever_the_object_is_called(name: str, make: Make) -> None:
    applied = make("kopt", name, pools=("p" * 40,))
    applied["metadata"]["uid"] = "u"
    pool = DevicePool.model_validate(make("dpool", "p" * 40))
    job = agent_job(KernelOptimization.model_validate(applied), pool, "spec", 1, Settings())
    assert len(job["metadata"]["name"]) <= 63
    assert "--" not in job["metadata"]["name"].replace(name, "")
    assert all(len(value) <= 63 for value in job["metadata"]["labels"].values())


@pytest.mark.parametrize(("cpu", "threads"), [("4", "4"), ("1500m", "1"), ("800m", "1"), ("2.5", "2")])
def test_runner_on_a_cpu_has_the_threads_that_its_limit_pays_for(
    make: Make, claim: RunnerClaim, cpu: str, threads: str
) -> None:
    spec = {"vendor": "CPU", "architecture": "x86_64", "runner": {"image": "runner:1", "resources": {"cpu": cpu}}}
    pool = DevicePool.model_validate(make("dpool", "cpu", **spec))
    container = runner_job(claim, pool, 1, Settings())["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "OMP_NUM_THREADS", "value": threads} in container["env"]


def test_runner_on_a_gpu_has_the_threads_of_its_node(runner: Any) -> None:
    container = runner["spec"]["template"]["spec"]["containers"][0]
    assert "OMP_NUM_THREADS" not in {variable["name"] for variable in container["env"]}
