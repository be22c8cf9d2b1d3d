"""The life of a KernelOptimization on a simulated cluster: what goes wrong, what is said of it, how it recovers."""

from collections.abc import Callable
from typing import Any

import pytest

from everforge.model.campaign import CampaignState, StopReason
from everforge.testing.simulated_cluster import Stopped

Make = Callable[..., dict[str, Any]]
KOPT, POOL, CLAIM = "KernelOptimization", "DevicePool", "RunnerClaim"
PRIVATE = {"oci": "registry.example/tasks@sha256:" + "0" * 64}


@pytest.fixture
def running(world: Any, make: Make) -> Any:
    """A world in which an agent is at work."""
    world.cluster.put(POOL, make("dpool"))
    world.cluster.put(KOPT, make("kopt"))
    world.rest()
    for pod in world.pods("agent"):
        world.cluster.run(pod)
    world.rest()
    return world


def test_optimization_gets_one_agent_for_each_target(world: Any, make: Make) -> None:
    world.cluster.put(POOL, make("dpool"))
    world.cluster.put(POOL, make("dpool", "big"))
    applied = world.cluster.put(KOPT, make("kopt", pools=("cpu", "big")))
    world.rest()
    jobs = world.jobs("agent")
    assert sorted(job["metadata"]["labels"]["everforge.dev/device-pool"] for job in jobs) == ["big", "cpu"]
    assert {job["metadata"]["ownerReferences"][0]["uid"] for job in jobs} == {applied["metadata"]["uid"]}


def test_running_agent_is_progress(running: Any) -> None:
    assert running.condition(KOPT, "Progressing") == ("True", "Running")
    assert running.condition(KOPT, "Succeeded") == ("Unknown", "NotFinished")


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        (StopReason.BUDGET, "BudgetExhausted"),
        (StopReason.TARGET, "GoalReached"),
        (StopReason.EXHAUSTED, "NothingLeftToTry"),
    ],
)
def test_agents_last_words_are_the_end(running: Any, told: Any, why: StopReason, reason: str) -> None:
    running.cluster.finish(running.pods("agent")[0], 0, told(why=why))
    running.rest()
    assert running.condition(KOPT, "Succeeded") == ("True", reason)
    assert running.condition(KOPT, "Improved") == ("False", "NoFasterKernel")


def test_jobs_stay_for_their_logs_and_go_when_their_time_has_come(running: Any, told: Any) -> None:
    running.cluster.finish(running.pods("agent")[0], 0, told())
    running.rest()
    assert running.jobs("agent")
    running.wait(3601)
    assert not running.jobs("agent")
    assert not running.cluster.of_kind("ConfigMap")
    assert running.condition(KOPT, "Succeeded")[0] == "True"


def test_missing_pool_is_said_and_recovers(world: Any, make: Make) -> None:
    world.cluster.put(KOPT, make("kopt"))
    world.rest()
    assert world.condition(KOPT, "Accepted") == ("False", "PoolNotFound")
    assert "DevicePool cpu does not exist" in world.message(KOPT, "Accepted")
    assert not world.jobs("agent")
    world.cluster.put(POOL, make("dpool"))
    world.rest()
    assert world.condition(KOPT, "Accepted") == ("True", "Valid")
    assert world.jobs("agent")


def test_removed_pool_takes_the_agent_away_and_brings_it_back(running: Any, make: Make) -> None:
    running.cluster.remove(POOL, "cpu")
    running.rest()
    assert not running.jobs("agent")
    running.cluster.put(POOL, make("dpool"))
    running.rest()
    assert running.jobs("agent")


@pytest.mark.parametrize(
    ("kind", "keys", "spec"),
    [
        ("Secret", "the key api-key", {"generators": ["llm"], "llm": {"model": "m", "secretName": "keys"}}),
        ("Secret", "the keys task-username and task-password", {"task": {**PRIVATE, "secretName": "keys"}}),
        ("ConfigMap", "the key task.py", {"task": {"configMap": {"name": "keys", "key": "task.py"}}}),
    ],
)
def test_missing_reference_is_said_and_recovers(
    world: Any, make: Make, kind: str, keys: str, spec: dict[str, Any]
) -> None:
    world.cluster.put(POOL, make("dpool"))
    world.cluster.put(KOPT, make("kopt", **spec))
    world.rest()
    assert world.condition(KOPT, "Accepted") == ("False", f"{kind}NotFound")
    assert f"create it with {keys};" in world.message(KOPT, "Accepted")
    assert not world.jobs("agent")
    world.cluster.put(kind, {"metadata": {"name": "keys", "namespace": "team-a"}})
    world.wait(15)
    assert world.condition(KOPT, "Accepted") == ("True", "Valid")
    assert len(world.jobs("agent")) == 1


def test_suspended_optimization_has_no_pods_and_goes_on_later(running: Any, make: Make) -> None:
    running.cluster.put(KOPT, make("kopt", suspend=True))
    running.rest()
    assert running.condition(KOPT, "Suspended") == ("True", "Suspended")
    assert not running.cluster.of_kind("Pod")
    running.cluster.put(KOPT, make("kopt"))
    running.rest()
    assert running.condition(KOPT, "Suspended") == ("False", "NotSuspended")
    assert len(running.pods("agent")) == 1


def test_edited_budget_replaces_the_agent_and_never_has_two(running: Any, make: Make) -> None:
    before = running.jobs("agent")[0]["metadata"]["name"]
    running.cluster.put(KOPT, make("kopt", budget={"trials": 80}))
    for _ in range(6):
        running.round()
        assert len(running.pods("agent")) <= 1
    (job,) = running.jobs("agent")
    assert job["metadata"]["name"] != before


def test_priority_and_retention_do_not_disturb_an_agent(running: Any, make: Make) -> None:
    before = running.jobs("agent")[0]["metadata"]["uid"]
    running.cluster.put(KOPT, make("kopt", priority=5, retention={"ttlSecondsAfterFinished": 5}))
    running.rest()
    assert [job["metadata"]["uid"] for job in running.jobs("agent")] == [before]


def test_deleted_optimization_leaves_nothing_behind(running: Any) -> None:
    running.cluster.remove(KOPT, "softmax", "team-a")
    running.cluster.collect()
    running.rest()
    assert not running.cluster.of_kind("Job")
    assert not running.cluster.of_kind("Pod")
    assert not running.cluster.of_kind("ConfigMap")


def test_used_up_quota_is_said_and_recovers(world: Any, make: Make) -> None:
    world.cluster.refusing = 'jobs.batch "x" is forbidden: exceeded quota: small'
    world.cluster.put(POOL, make("dpool"))
    world.cluster.put(KOPT, make("kopt"))
    world.rest()
    assert world.condition(KOPT, "Progressing") == ("False", "QuotaExceeded")
    world.cluster.refusing = None
    world.wait(30)
    assert world.condition(KOPT, "Progressing") == ("True", "Starting")


PENDING = {
    "ImagePullFailed": {
        "phase": "Pending",
        "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}],
    },
    "Unschedulable": {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}],
    },
    "ContainerNotStarted": {
        "phase": "Pending",
        "containerStatuses": [{"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no key"}}}],
    },
}


@pytest.mark.parametrize("reason", PENDING)
def test_pod_that_cannot_start_is_said_and_recovers(world: Any, make: Make, reason: str) -> None:
    world.cluster.put(POOL, make("dpool"))
    world.cluster.put(KOPT, make("kopt"))
    world.rest()
    (pod,) = world.pods("agent")
    healthy = pod["status"]
    pod["status"] = PENDING[reason]
    world.rest()
    assert world.condition(KOPT, "Progressing") == ("False", reason)
    pod["status"] = healthy
    world.cluster.run(pod)
    world.rest()
    assert world.condition(KOPT, "Progressing") == ("True", "Running")


@pytest.mark.parametrize(
    ("about", "event", "message", "reason"),
    [
        ("Job", "FailedCreate", "exceeded quota: small, requested: pods=1", "QuotaExceeded"),
        ("Job", "FailedCreate", 'serviceaccount "everforge-agent" not found', "ServiceAccountNotFound"),
        ("Job", "FailedCreate", 'violates PodSecurity "restricted:latest"', "PodRefused"),
        ("Pod", "FailedMount", 'secret "keys" not found', "MountFailed"),
    ],
)
def test_kubernetes_own_warnings_are_passed_on(
    world: Any, make: Make, about: str, event: str, message: str, reason: str
) -> None:
    world.cluster.put(POOL, make("dpool"))
    world.cluster.put(KOPT, make("kopt"))
    world.rest()
    if about == "Job":
        world.cluster.remove("Pod", world.pods("agent")[0]["metadata"]["name"], "team-a")
    (found,) = world.cluster.of_kind(about)
    warning = {
        "metadata": {"name": "w", "namespace": "team-a"},
        "involvedObject": {"uid": found["metadata"]["uid"]},
        "type": "Warning",
        "reason": event,
        "message": message,
        "lastTimestamp": world.cluster.time(),
    }
    world.cluster.put("Event", warning)
    for key in world.all_keys():
        world.operator.reconcile(key)
    assert world.condition(KOPT, "Progressing") == ("False", reason)
    assert message in world.message(KOPT, "Progressing")


def test_killed_agent_is_started_again_after_a_pause(running: Any) -> None:
    running.cluster.kill(running.pods("agent")[0])
    running.rest()
    assert running.condition(KOPT, "Progressing") == ("False", "AgentFailed")
    assert not running.pods("agent")
    running.wait(10)
    assert len(running.pods("agent")) == 1
    assert running.cluster.of_kind(KOPT)[0]["status"]["targets"][0]["attempt"] == 2


def test_broken_machine_is_kept_away_from(running: Any) -> None:
    running.cluster.finish(running.pods("agent")[0], 20)
    running.rest()
    running.wait(10)
    (job,) = [job for job in running.jobs("agent") if not job.get("status")]
    preference = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert "node-1" in str(preference)


def test_machines_that_keep_failing_end_the_search(running: Any) -> None:
    for _ in range(5):
        for pod in running.pods("agent"):
            running.cluster.run(pod)
            running.cluster.finish(pod, 21, "harness fault")
        running.rest()
        running.wait(301)
    assert running.condition(KOPT, "Succeeded") == ("False", "InfraFailures")
    assert len(running.jobs("agent")) == 5


def test_wrong_input_is_not_tried_again(running: Any) -> None:
    running.cluster.finish(running.pods("agent")[0], 2, "task.py: no class Model")
    running.rest()
    assert running.condition(KOPT, "Succeeded") == ("False", "Failed")
    assert "no class Model" in running.message(KOPT, "Succeeded")


def test_failed_campaign_is_an_end(running: Any, told: Any) -> None:
    running.cluster.finish(running.pods("agent")[0], 20, told(state=CampaignState.FAILED, why=StopReason.MACHINE))
    running.rest()
    assert running.condition(KOPT, "Succeeded") == ("False", "InfraFailures")


def test_changes_are_told_once(running: Any, told: Any) -> None:
    running.cluster.finish(running.pods("agent")[0], 0, told())
    running.rest()
    reasons = [event["reason"] for event in running.cluster.of_kind("Event")]
    assert reasons.count("BudgetExhausted") == 1


def test_change_is_told_once_by_an_operator_that_died_before_it_wrote_the_status(world: Any, make: Make) -> None:
    world.cluster.put(POOL, make("dpool"))
    world.rest()
    world.cluster.put(KOPT, make("kopt"))
    before = [event["metadata"]["name"] for event in world.cluster.of_kind("Event")]
    world.cluster.stop_after = world.cluster.writes + 3
    with pytest.raises(Stopped):
        world.round()
    assert len(world.cluster.of_kind("Event")) == len(before) + 1
    assert not world.cluster.of_kind(KOPT)[0].get("status")
    world.cluster.stop_after = None
    world.wait(5)
    assert [event["reason"] for event in world.cluster.of_kind("Event")].count("Valid") == 1


def test_second_operator_with_another_start_decides_the_same(running: Any) -> None:
    writes = running.cluster.writes
    running.operator = running.new_operator()
    running.rest()
    assert running.cluster.writes == writes
