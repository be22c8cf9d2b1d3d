"""Runners of a pool: who gets one, who waits, who gives one back, and what becomes of a claim."""

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., dict[str, Any]]
KOPT, POOL, CLAIM = "KernelOptimization", "DevicePool", "RunnerClaim"


def phases(world: Any) -> dict[str, str]:
    return {c["metadata"]["name"]: c["status"]["phase"] for c in world.cluster.of_kind(CLAIM)}


def bind(world: Any) -> None:
    for pod in world.pods("runner"):
        world.cluster.run(pod)
    world.rest()


def edit(world: Any, name: str, **spec: Any) -> None:
    (claim,) = [c for c in world.cluster.of_kind(CLAIM) if c["metadata"]["name"] == name]
    world.cluster.put(CLAIM, {**claim, "spec": {**claim["spec"], **spec}})
    world.rest()


@pytest.fixture
def pool(world: Any, make: Make) -> Any:
    """A pool of one runner, and an owner in each of two namespaces."""
    world.cluster.put(POOL, make("dpool"))
    for namespace in ("team-a", "team-b"):
        world.cluster.put(KOPT, make("kopt", namespace=namespace))
    world.rest()
    world.owner = {o["metadata"]["namespace"]: o for o in world.cluster.of_kind(KOPT)}
    return world


def test_claim_gets_a_runner_its_address_and_no_secret(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    assert phases(pool) == {"one": "Starting"}
    bind(pool)
    (claim,) = pool.cluster.of_kind(CLAIM)
    status = claim["status"]
    assert status["phase"] == "Bound"
    assert status["address"] == "http://10.0.0.1:8473"
    assert status["node"] == "node-1"
    (job,) = pool.jobs("runner")
    assert claim["spec"]["credentialDigest"] in job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert not pool.cluster.of_kind("Secret")
    assert job["metadata"]["name"] == status["holder"]


def test_second_claim_waits_and_is_told_for_whom(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    pool.claim("two", pool.owner["team-b"])
    pool.rest()
    assert phases(pool) == {"one": "Starting", "two": "Pending"}
    assert pool.condition(CLAIM, "Bound", "two") == ("False", "Waiting")
    assert len(pool.jobs("runner")) == 1
    assert pool.cluster.of_kind(POOL)[0]["status"]["waiting"] == 1


def test_released_claim_makes_room(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    pool.claim("two", pool.owner["team-b"])
    bind(pool)
    edit(pool, "one", released=True)
    assert phases(pool) == {"one": "Released", "two": "Starting"}


def test_idle_claim_is_revoked_only_while_another_waits(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"], idleSeconds=60)
    pool.rest()
    bind(pool)
    edit(pool, "one", idle=True)
    pool.wait(600)
    assert phases(pool) == {"one": "Bound"}
    pool.claim("two", pool.owner["team-b"])
    pool.rest()
    assert phases(pool) == {"one": "Revoked", "two": "Starting"}
    assert pool.condition(CLAIM, "Bound", "one") == ("False", "Revoked")


def test_claim_at_work_is_never_revoked(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"], idleSeconds=0)
    pool.rest()
    bind(pool)
    pool.claim("two", pool.owner["team-b"], priority=1000)
    pool.wait(6000)
    assert phases(pool) == {"one": "Bound", "two": "Pending"}


def test_higher_priority_of_the_owner_goes_first(pool: Any, make: Make) -> None:
    urgent = pool.cluster.put(KOPT, make("kopt", "urgent", priority=10))
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    pool.claim("two", pool.owner["team-b"], priority=999)
    pool.claim("three", urgent)
    edit(pool, "one", released=True)
    assert phases(pool) == {"one": "Released", "two": "Pending", "three": "Starting"}


def test_namespaces_take_turns(pool: Any, make: Make) -> None:
    pool.cluster.put(POOL, make("dpool", concurrency=3))
    for number in range(5):
        pool.claim(f"a{number}", pool.owner["team-a"])
    pool.claim("b0", pool.owner["team-b"])
    pool.rest()
    started = {name for name, phase in phases(pool).items() if phase == "Starting"}
    assert len(started) == 3
    assert "b0" in started


def test_namespace_that_has_just_been_served_waits_for_the_other_one(pool: Any) -> None:
    pool.claim("a-first", pool.owner["team-a"])
    pool.rest()
    bind(pool)
    pool.claim("a-second", pool.owner["team-a"])
    pool.clock.time_s += 10
    pool.claim("b-first", pool.owner["team-b"])
    pool.rest()
    edit(pool, "a-first", released=True)
    assert phases(pool) == {"a-first": "Released", "a-second": "Pending", "b-first": "Starting"}


def test_kueue_gets_a_suspended_job_and_the_limiter_steps_aside(pool: Any, make: Make) -> None:
    queued = pool.cluster.put(KOPT, make("kopt", "queued", queueName="gpus"))
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    pool.claim("two", queued)
    pool.rest()
    jobs = {job["spec"]["suspend"]: job["metadata"]["labels"] for job in pool.jobs("runner")}
    assert jobs[True]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "kueue.x-k8s.io/queue-name" not in jobs[False]
    assert pool.condition(CLAIM, "Bound", "two") == ("False", "Queued")
    assert pool.condition(KOPT, "QuotaReserved", "queued") == ("False", "Queued")


def test_pools_queue_serves_owners_that_name_none(pool: Any, make: Make) -> None:
    pool.cluster.put(POOL, make("dpool", queueName="shared"))
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    assert pool.jobs("runner")[0]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "shared"


def test_claim_of_a_suspended_owner_is_released(pool: Any, make: Make) -> None:
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    pool.cluster.put(KOPT, make("kopt", suspend=True))
    pool.rest()
    assert phases(pool) == {"one": "Released"}
    assert not pool.jobs("runner")


def test_claim_of_an_owner_that_is_gone_is_released_and_forgotten(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    pool.cluster.remove(KOPT, "softmax", "team-a")
    pool.rest()
    assert phases(pool) == {"one": "Released"}
    pool.wait(301)
    assert phases(pool) == {}


def test_claim_whose_agent_is_gone_is_released(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"], requester="no-such-pod")
    pool.rest()
    assert phases(pool) == {"one": "Released"}


def test_claim_of_an_agent_that_works_is_served(pool: Any) -> None:
    agent = next(pod for pod in pool.pods("agent") if pod["metadata"]["namespace"] == "team-a")
    pool.claim("one", pool.owner["team-a"], requester=agent["metadata"]["name"])
    pool.rest()
    assert phases(pool) == {"one": "Starting"}


def test_lost_runner_is_replaced_away_from_the_node_that_broke(pool: Any, make: Make) -> None:
    pool.cluster.put("Node", make("node", "node-2"))
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    bind(pool)
    pool.cluster.finish(pool.pods("runner")[0], 20, "device lost")
    pool.rest()
    assert pool.condition(CLAIM, "Bound") == ("False", "RunnerLost")
    pool.wait(10)
    assert phases(pool) == {"one": "Starting"}
    job = next(job for job in pool.jobs("runner") if not job.get("status"))
    affinity = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["node-1"]


def test_pool_of_one_node_tries_it_again(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    bind(pool)
    pool.cluster.finish(pool.pods("runner")[0], 20, "device lost")
    pool.rest()
    pool.wait(10)
    job = next(job for job in pool.jobs("runner") if not job.get("status"))
    assert "affinity" not in job["spec"]["template"]["spec"]


def test_runners_that_keep_failing_fail_the_claim(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"])
    for _ in range(5):
        pool.rest()
        bind(pool)
        for pod in pool.pods("runner"):
            pool.cluster.finish(pod, 21, "no warm process")
        pool.rest()
        pool.wait(301)
    assert phases(pool).get("one") in (None, "Failed")
    assert "Failed" in [event["reason"] for event in pool.cluster.of_kind("Event")]


def test_runner_that_ended_by_itself_ends_the_claim(pool: Any) -> None:
    pool.claim("one", pool.owner["team-a"])
    pool.rest()
    bind(pool)
    pool.cluster.finish(pool.pods("runner")[0], 0)
    pool.rest()
    assert phases(pool) == {"one": "Revoked"}
    assert pool.condition(CLAIM, "Bound") == ("False", "RunnerEnded")


def test_claim_on_a_missing_pool_waits_for_it(pool: Any, make: Make) -> None:
    pool.claim("one", pool.owner["team-a"], pool="gpu")
    pool.rest()
    assert pool.condition(CLAIM, "Bound") == ("False", "PoolNotFound")
    pool.cluster.put(POOL, make("dpool", "gpu"))
    pool.rest()
    assert phases(pool) == {"one": "Starting"}


GPU = {"vendor": "NVIDIA", "architecture": "sm_90", "allocation": {"extendedResource": {"name": "nvidia.com/gpu"}}}


@pytest.mark.parametrize(
    ("labels", "allocatable", "reason"),
    [
        ({"nvidia.com/gpu.sharing-strategy": "time-slicing"}, {"nvidia.com/gpu": "8"}, "SharedDevices"),
        ({"nvidia.com/gpu.product": "NVIDIA-H200-SHARED"}, {"nvidia.com/gpu": "8"}, "SharedDevices"),
        ({"nvidia.com/gpu.count": "1"}, {"nvidia.com/gpu": "4"}, "SharedDevices"),
        ({}, {}, "NoDevices"),
        ({"nvidia.com/gpu.count": "1"}, {"nvidia.com/gpu": "1"}, "DevicesAvailable"),
    ],
)
def test_pool_says_whether_its_devices_can_be_timed(
    world: Any, make: Make, labels: dict[str, str], allocatable: dict[str, str], reason: str
) -> None:
    world.cluster.remove("Node", "node-1")
    shown = make("node", "node-1")
    shown["metadata"]["labels"] |= labels
    shown["status"]["allocatable"] = allocatable
    world.cluster.put("Node", shown)
    world.cluster.put(POOL, make("dpool", **GPU))
    world.rest()
    assert world.condition(POOL, "Ready")[1] == reason


def test_no_runner_starts_on_shared_devices(world: Any, make: Make) -> None:
    world.cluster.of_kind("Node")[0]["metadata"]["labels"]["nvidia.com/gpu.sharing-strategy"] = "mps"
    world.cluster.put(POOL, make("dpool", "gpu", **GPU))
    owner = world.cluster.put(KOPT, make("kopt", pools=("gpu",)))
    world.claim("one", owner, pool="gpu")
    world.rest()
    assert world.condition(CLAIM, "Bound") == ("False", "SharedDevices")
    assert not world.jobs("runner")


def test_pool_without_devices_is_said_where_users_look_and_recovers(world: Any, make: Make) -> None:
    world.cluster.put(POOL, make("dpool", "gpu", **GPU))
    owner = world.cluster.put(KOPT, make("kopt", pools=("gpu",)))
    world.rest()
    for pod in world.pods("agent"):
        world.cluster.run(pod)
    world.claim("one", owner, pool="gpu")
    world.rest()
    assert world.condition(KOPT, "Progressing") == ("False", "NoDevices")
    world.cluster.of_kind("Node")[0]["status"]["allocatable"] = {"nvidia.com/gpu": "1"}
    world.rest()
    assert world.condition(KOPT, "Progressing") == ("True", "Running")


def test_drivers_that_differ_are_named(world: Any, make: Make) -> None:
    for number, driver in enumerate(("580.65", "570.10")):
        shown = make("node", f"gpu-{number}", **{"nvidia.com/gpu": "1"})
        shown["metadata"]["labels"]["nvidia.com/cuda.driver-version.full"] = driver
        world.cluster.put("Node", shown)
    world.cluster.put(POOL, make("dpool", **GPU))
    world.rest()
    assert world.condition(POOL, "DriverConsistent") == ("False", "DriversDiffer")
    assert world.cluster.of_kind(POOL)[0]["status"]["drivers"] == ["570.10", "580.65"]
