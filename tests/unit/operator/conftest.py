"""A simulated cluster with an operator on it, and the objects that tests apply."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from everforge.model.campaign import CampaignRecord, CampaignState, StopReason
from everforge.model.device import DeviceKind
from everforge.operator.observed import Key
from everforge.operator.reconciler import Reconciler
from everforge.operator.settings import Settings
from everforge.testing.simulated_cluster import SimulatedCluster

CREDENTIAL = "sha256:" + "c" * 64


class HandClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.time_s = 1_790_000_000.0

    def now_s(self) -> float:
        return self.time_s

    def monotonic_s(self) -> float:
        return self.time_s


class World:
    """The cluster, its users, its kubelet, and an operator that may be restarted."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.cluster = SimulatedCluster(self.clock.now_s)
        self.settings = Settings()
        self.operator = self.new_operator()
        self.cluster.put("Node", node("node-1"))

    def new_operator(self) -> Reconciler:
        return Reconciler(self.cluster, self.settings, self.clock)

    def all_keys(self) -> list[Key]:
        optimizations = [meta(o) for o in self.cluster.of_kind("KernelOptimization")]
        pools = {meta(o)["name"] for o in self.cluster.of_kind("DevicePool")}
        pools |= {o["spec"]["pool"] for o in self.cluster.of_kind("RunnerClaim")}
        found = [Key("KernelOptimization", m["name"], m["namespace"]) for m in optimizations]
        return found + [Key("DevicePool", name) for name in sorted(pools)]

    def round(self) -> None:
        """Every key once, then Kubernetes' controllers."""
        for key in self.all_keys():
            self.operator.reconcile(key)
        self.cluster.settle()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.time_s, UTC)

    def rest(self, rounds: int = 12) -> None:
        """Rounds until nothing is written any more; a world that never rests fails the test."""
        self.cluster.settle()
        for _ in range(rounds):
            before = self.cluster.writes, len(self.cluster.of_kind("Job")), len(self.cluster.of_kind("Pod"))
            self.round()
            if before == (self.cluster.writes, len(self.cluster.of_kind("Job")), len(self.cluster.of_kind("Pod"))):
                return
        raise AssertionError("the operator never comes to rest")

    def wait(self, seconds: float) -> None:
        self.clock.time_s += seconds
        self.rest()

    def pods(self, role: str) -> list[dict[str, Any]]:
        return [pod for pod in self.cluster.of_kind("Pod") if meta(pod)["labels"]["everforge.dev/role"] == role]

    def jobs(self, role: str) -> list[dict[str, Any]]:
        return [job for job in self.cluster.of_kind("Job") if meta(job)["labels"]["everforge.dev/role"] == role]

    def condition(self, kind: str, type_: str, name: str | None = None) -> tuple[str, str]:
        found = [o for o in self.cluster.of_kind(kind) if name is None or meta(o)["name"] == name]
        (condition,) = [c for c in found[0]["status"]["conditions"] if c["type"] == type_]
        return condition["status"], condition["reason"]

    def message(self, kind: str, type_: str) -> str:
        (condition,) = [c for c in self.cluster.of_kind(kind)[0]["status"]["conditions"] if c["type"] == type_]
        return str(condition["message"])

    def claim(self, name: str, owner: dict[str, Any], pool: str = "cpu", **spec: Any) -> dict[str, Any]:
        made = {
            "apiVersion": "everforge.dev/v1alpha1",
            "kind": "RunnerClaim",
            "metadata": {"name": name, "namespace": meta(owner)["namespace"]},
            "spec": {
                "pool": pool,
                "owner": {"name": meta(owner)["name"], "uid": meta(owner)["uid"]},
                "credentialDigest": CREDENTIAL,
                **spec,
            },
        }
        return self.cluster.put("RunnerClaim", made)


def meta(found: dict[str, Any]) -> dict[str, Any]:
    return dict(found["metadata"])


def node(name: str, **allocatable: str) -> dict[str, Any]:
    ready = [{"type": "Ready", "status": "True"}]
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"conditions": ready, "allocatable": allocatable},
    }


def kopt(
    name: str = "softmax", namespace: str = "team-a", pools: tuple[str, ...] = ("cpu",), **spec: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "everforge.dev/v1alpha1",
        "kind": "KernelOptimization",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"task": {"inline": "class Model: ..."}, "targets": [{"devicePool": pool} for pool in pools], **spec},
    }


def dpool(name: str = "cpu", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "everforge.dev/v1alpha1",
        "kind": "DevicePool",
        "metadata": {"name": name},
        "spec": {"vendor": "CPU", "architecture": "x86_64", "runner": {"image": "everforge-runner:1"}, **spec},
    }


def record(state: CampaignState = CampaignState.SUCCEEDED, why: StopReason = StopReason.BUDGET) -> str:
    """What an agent says at its end."""
    said = CampaignRecord(
        campaign_id="c",
        name="softmax",
        task="softmax",
        task_digest="sha256:" + "0" * 64,
        device=DeviceKind.CPU,
        state=state,
        stop_reason=why,
        detail="40 trials",
    )
    return json.dumps(said.model_dump(mode="json"))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def new_world() -> Callable[[], World]:
    return World


@pytest.fixture(scope="session")
def make() -> Callable[..., dict[str, Any]]:
    """`make("kopt", ...)`, `make("dpool", ...)`, `make("node", ...)`."""
    kinds = {"kopt": kopt, "dpool": dpool, "node": node}
    return lambda kind, *arguments, **fields: kinds[kind](*arguments, **fields)


@pytest.fixture(scope="session")
def told() -> Callable[..., str]:
    return record
