"""An operator killed after any one of its writes to a real API server, and started again, ends where it would have.

The writes are those of a whole campaign: agent, claim, runner, the agent's end. The operator's loop runs in this
process, so that it can be stopped right after the n-th write.
"""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kubelet_by_hand import KubeletByHand
from kubernetes import client
from operator_process import DEADLINE_S, ROOT
from test_operator import GROUP, RECORD, VERSION, Objects

from everforge.clock import SystemClock
from everforge.operator.cluster import Cluster
from everforge.operator.kubernetes_cluster import KubernetesCluster
from everforge.operator.observed import Key
from everforge.operator.reconciler import Reconciler
from everforge.operator.settings import Settings

# Above the writes of a campaign with one claim, which are 21 now; the test says so when it is not any more.
STOPS = range(1, 26)


# Events of changes that every life sees; whether a pod was seen waiting for its node is a matter of moments.
LASTING = ("Valid", "Bound", "BudgetExhausted", "NoFasterKernel", "OwnerGone")


class Stopped(BaseException):
    """The operator was killed; no handler of errors may catch it."""


class Life:
    """A campaign with one claim from its application to its end, by an operator that dies once."""

    def __init__(self, admin: client.ApiClient, kubelet: KubeletByHand, name: str) -> None:
        self.admin, self.kubelet, self.name = admin, kubelet, name
        self.objects = Objects(admin, name, name)
        self.writes = 0
        self.stop_after: int | None = None
        self.keys = [Key("KernelOptimization", "softmax", name), Key("DevicePool", name)]
        self.reconciler = self.started()

    def started(self) -> Reconciler:
        cluster: Cluster = KubernetesCluster(self.admin, on_write=self.wrote)
        return Reconciler(cluster, Settings(), SystemClock())

    def wrote(self, _object: Any) -> None:
        self.writes += 1
        if self.writes == self.stop_after:
            raise Stopped

    def look(self) -> None:
        """The operator looks at everything; where it dies, the next one looks again."""
        for key in self.keys:
            try:
                self.reconciler.reconcile(key)
            except Stopped:
                self.reconciler = self.started()
        self.kubelet.buries(self.name)

    def until(self, seen: Any, what: str) -> Any:
        deadline = time.monotonic() + DEADLINE_S
        while not (found := seen()):
            assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S:.0f} s"
            self.look()
        return found

    def lived(self) -> list[str]:
        """To the end; what then is there."""
        owner = self.objects.apply()
        self.objects.claim("one", owner)
        (runner,) = self.until(lambda: self.kubelet.pods(self.name, "runner"), "the runner's pod")
        (agent,) = self.until(lambda: self.kubelet.pods(self.name, "agent"), "the agent's pod")
        self.kubelet.run(agent)
        self.kubelet.run(runner)
        self.until(lambda: self.objects.status("one", "runnerclaims").get("phase") == "Bound", "the binding")
        self.kubelet.end(agent, 0, json.dumps(RECORD))
        self.until(lambda: self.objects.condition("Succeeded")[0] == "True", "success")
        self.until(lambda: not self.objects.jobs("runner"), "the runner's end")
        self.until(lambda: self.objects.status("one", "runnerclaims").get("phase") == "Released", "the release")
        return self.left()

    def left(self) -> list[str]:
        """What is there, without names and times that differ between two lives."""
        found = [f"kopt {c['type']}={c['status']} {c['reason']}" for c in self.objects.status()["conditions"]]
        status = self.objects.status("one", "runnerclaims")
        found += [f"claim {c['type']}={c['status']} {c['reason']}" for c in status["conditions"]]
        found += [f"job {job.metadata.labels['everforge.dev/role']}" for job in self.objects.jobs("agent")]
        core = self.objects.core
        label = {"label_selector": "everforge.dev/role"}
        found += ["config" for _ in core.list_namespaced_config_map(self.name, **label).items]
        events = core.list_namespaced_event(self.name).items
        found += [f"event {event.reason}" for event in events if event.reason in LASTING]
        return sorted(found)


@pytest.fixture(scope="module")
def kubelet(installed: None, admin: client.ApiClient) -> Iterator[KubeletByHand]:
    by_hand = KubeletByHand(admin)
    by_hand.add_node("paper-2", {"everforge.test/pool": "restarts"})
    yield by_hand
    by_hand.remove_nodes()


@pytest.fixture(scope="module")
def installed(kubectl: Any) -> None:
    applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    assert applied.returncode == 0, applied.stderr
    waited = kubectl(
        "wait", "--for=condition=Established", f"crd/kerneloptimizations.{GROUP}", f"crd/runnerclaims.{GROUP}"
    )
    assert waited.returncode == 0, waited.stderr


def live(
    admin: client.ApiClient, kubelet: KubeletByHand, kubectl: Any, stop_after: int | None
) -> tuple[list[str], int]:
    """One life in a namespace and a pool of its own: what is left, and how many writes it took."""
    name = f"life-{secrets.token_hex(3)}"
    core, custom = client.CoreV1Api(admin), client.CustomObjectsApi(admin)
    namespace: Any = {"metadata": {"name": name}}
    core.create_namespace(namespace)
    kubectl("apply", "-n", name, "-f", str(ROOT / "deploy" / "agent-access.yaml"))
    spec = {
        "vendor": "CPU",
        "architecture": "x86_64",
        "nodeSelector": {"everforge.test/pool": "restarts"},
        "runner": {"image": "runner:test"},
    }
    pool = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "DevicePool", "metadata": {"name": name}, "spec": spec}
    custom.create_cluster_custom_object(GROUP, VERSION, "devicepools", pool)
    kubelet.is_ready("paper-2")
    life = Life(admin, kubelet, name)
    life.stop_after = stop_after
    try:
        return life.lived(), life.writes
    finally:
        custom.delete_cluster_custom_object(GROUP, VERSION, "devicepools", name)
        core.delete_namespace(name)


@pytest.mark.slow
def test_operator_killed_after_any_write_ends_where_it_would_have(
    admin: client.ApiClient, kubelet: KubeletByHand, kubectl: Any
) -> None:
    undisturbed, writes = live(admin, kubelet, kubectl, None)
    assert writes < STOPS.stop, "a campaign takes more writes than are tried here: raise STOPS"
    for stop_after in range(1, writes + 1):
        left, _writes = live(admin, kubelet, kubectl, stop_after)
        assert left == undisturbed, f"killed after write {stop_after}"
