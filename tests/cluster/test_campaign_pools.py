"""Two namespaces fill two pools: one of a pretended GPU that is missing, taken and forbidden in turn, one of a CPU.

All five campaigns run side by side. The device is an extended resource that the node is given by hand, as Kubernetes
documents it ("Advertise Extended Resources for a Node"): scheduling, quotas and claims are those of a real GPU, and the
runner computes on the processor.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from container_runtime import SANDBOX_IMAGE
from full_node import NODE
from installed_product import InstalledProduct
from runner_history import RunnerHistory
from running_campaign import RunningCampaign

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

GPU, GPU_POOL, CPU_POOL = "nvidia.com/gpu", "pretended-gpu", "narrow"
RED, BLUE, TENANT = "team-red", "team-blue", "tenant"
ONE_TRIAL = {"trials": 1}


@dataclass(frozen=True)
class Teams:
    """What both namespaces have applied, and what became of the pools' runners since."""

    gpu: RunnerHistory
    cpu: RunnerHistory
    on_gpu: dict[str, RunningCampaign]
    on_cpu: list[RunningCampaign]


@pytest.fixture(scope="module")
def histories(product: InstalledProduct, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunnerHistory]]:
    """The runners of the GPU's and of the CPU's pool from the beginning."""
    directory = tmp_path_factory.mktemp("runners")
    watches = [RunnerHistory(product.node, pool, directory / pool) for pool in (GPU_POOL, CPU_POOL)]
    yield watches
    for watch in watches:
        watch.close()


@pytest.fixture(scope="module")
def teams(product: InstalledProduct, histories: list[RunnerHistory]) -> Teams:
    """Both pools are asked for more than they have; the only GPU is in use, and the node has stopped to offer it."""
    for name in (RED, BLUE, TENANT):
        product.add_namespace(name)
    forbid_gpus(product, BLUE)
    product.node.pretend_devices(GPU, 1)
    occupy(product)
    product.node.pretend_devices(GPU, 0)
    on_gpu = {name: started(product, name, "gpu", GPU_POOL) for name in (RED, BLUE)}
    on_cpu = queue_up(product)
    product.node.kubectl("label", "node", NODE, f"everforge.test/pool={CPU_POOL}")
    return Teams(*histories, on_gpu, on_cpu)


def started(product: InstalledProduct, namespace: str, name: str, pool: str) -> RunningCampaign:
    return RunningCampaign(product, namespace, name, targets=[{"devicePool": pool}], budget=ONE_TRIAL)


def queue_up(product: InstalledProduct) -> list[RunningCampaign]:
    """Two of one namespace that ask for the CPU, then one of the other namespace; none is served yet."""
    queue: list[RunningCampaign] = []
    for namespace, names in ((RED, ("first", "second")), (BLUE, ("third",))):
        queue.extend(started(product, namespace, name, CPU_POOL) for name in names)
        product.eventually(lambda: all(campaign.claims() for campaign in queue), f"the claims of {namespace}")
    return queue


def forbid_gpus(product: InstalledProduct, namespace: str) -> None:
    product.node.kubectl("create", "quota", "gpus", "-n", namespace, f"--hard=requests.{GPU}=0")


def occupy(product: InstalledProduct) -> None:
    """A pod of somebody who does not use Everforge has the device."""
    container = {
        "name": "holder",
        "image": SANDBOX_IMAGE,
        "imagePullPolicy": "Never",
        "resources": {"limits": {GPU: "1"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec = {"containers": [container], "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "holder", "namespace": TENANT}, "spec": spec}
    # Refused until the controllers have made the account it runs as.
    product.eventually(lambda: product.node.kubectl("apply", "-f", "-", stdin=json.dumps(pod)), "the holder")
    product.eventually(lambda: _phase(product) == "Running", "the holder's start")


def _phase(product: InstalledProduct) -> str:
    (pod,) = product.listed("pods", TENANT)
    return str(pod["status"]["phase"])


@pytest.fixture(scope="module")
def without_devices(product: InstalledProduct, teams: Teams) -> dict[str, Any]:
    """What is said while the node offers no device: of the pool, and of each claim."""

    def said() -> list[str]:
        claims = [claim.get("status", {}) for campaign in teams.on_gpu.values() for claim in campaign.claims()]
        conditions = [condition for status in claims for condition in status.get("conditions", [])]
        return [each["message"] for each in conditions if each["reason"] == "NoDevices"]

    product.eventually(lambda: len(said()) == len(teams.on_gpu), "claims without devices")
    search = teams.on_gpu[RED]
    product.eventually(lambda: search.condition()[1] == "NoDevices", "a search that says so")
    pool = product.condition(f"devicepool/{GPU_POOL}", "Ready")
    return {"pool": pool, "claims": said(), "search": search.condition(), "runners": teams.gpu.turns()}


@pytest.fixture(scope="module")
def device_in_use(product: InstalledProduct, teams: Teams, without_devices: Any) -> dict[str, tuple[str, str, str]]:
    """What both campaigns say once the device is offered, but in use, and forbidden to one of them. Then neither is."""
    product.node.pretend_devices(GPU, 1)
    said = {}
    for name, reason in ((RED, "RunnerUnschedulable"), (BLUE, "RunnerQuotaExceeded")):
        campaign = teams.on_gpu[name]
        product.eventually(lambda c=campaign, r=reason: c.condition()[1] == r, f"{name}: {reason}")
        said[name] = campaign.condition()
    hard = {"spec": {"hard": {f"requests.{GPU}": "1"}}}
    product.node.kubectl("patch", "quota", "gpus", "-n", BLUE, f"--patch={json.dumps(hard)}")
    product.node.kubectl("delete", "pod", "holder", "-n", TENANT)
    return said


def test_pool_whose_nodes_offer_no_device_says_so_and_starts_no_runner(without_devices: dict[str, Any]) -> None:
    status, reason, message = without_devices["pool"]
    assert (status, reason) == ("False", "NoDevices")
    assert f"none offers {GPU}: see their device plugin" in message
    assert all(f"none offers {GPU}" in each for each in without_devices["claims"])
    assert without_devices["search"][0] == "False"
    assert without_devices["search"][2].endswith(f"none offers {GPU}: see their device plugin; this goes on by itself")
    assert without_devices["runners"] == []


def test_device_in_use_by_others_is_said_and_waited_for(device_in_use: dict[str, tuple[str, str, str]]) -> None:
    status, _reason, message = device_in_use[RED]
    assert status == "False"
    assert f"Insufficient {GPU}" in message
    assert "Free or add a node that fits; this goes on by itself" in message


def test_quota_that_forbids_the_runner_is_said_and_its_raise_waited_for(
    device_in_use: dict[str, tuple[str, str, str]],
) -> None:
    status, _reason, message = device_in_use[BLUE]
    assert status == "False"
    assert "exceeded quota: gpus" in message
    assert "Raise it, or let other work end; this goes on by itself" in message


def test_search_on_the_pretended_device_succeeds_and_the_next_one_follows_it(
    product: InstalledProduct, teams: Teams, device_in_use: dict[str, tuple[str, str, str]]
) -> None:
    product.eventually(lambda: len(teams.gpu.turns()) == len(teams.on_gpu), "a turn for each on the device")
    first, second = [turn.partition("/")[0] for turn in teams.gpu.turns()]
    teams.on_gpu[first].truth()
    teams.on_gpu[second].delete()  # that it got the device is all that is asked of it
    assert {first, second} == {RED, BLUE}
    assert teams.gpu.asked_for(GPU) == {"1"}
    assert teams.gpu.most_at_once() == 1


def test_namespaces_take_turns_on_a_pool_of_one_runner(product: InstalledProduct, teams: Teams) -> None:
    product.eventually(lambda: len(teams.cpu.turns()) == len(teams.on_cpu), "a turn for each on the CPU")
    *ended, last = [turn.partition("/") for turn in teams.cpu.turns()]
    # Both of the first namespace asked before the other namespace did.
    assert [namespace for namespace, _, _ in (*ended, last)] == [RED, BLUE, RED]
    named = {campaign.name: campaign for campaign in teams.on_cpu}
    named[last[2]].delete()
    for _, _, name in ended:
        named[name].truth()
    assert teams.cpu.most_at_once() == 1
