"""When the operator says that it is well, and when not; whom a change is told; what a scrape shows."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from everforge.operator.cluster import CLAIMS, JOBS, NODES, OPTIMIZATIONS, POOLS
from everforge.operator.freshness import Freshness
from everforge.operator.health import DEFAULT, Health, HealthServer
from everforge.operator.interests import Interests
from everforge.operator.observed import Key
from everforge.operator.scrape import samples
from everforge.operator.workqueue import WorkQueue
from everforge.telemetry.metrics import PREFIX, Registry
from everforge.telemetry.operator_metrics import OPERATOR_TABLE, OperatorMetrics

KEY = Key("DevicePool", "cpu")


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Watches:
    """An informer as health sees it."""

    def __init__(self) -> None:
        self.ready, self.ended = threading.Event(), threading.Event()
        self.ready.set()


class Parts:
    def __init__(self) -> None:
        self.time, self.watches = Time(), Watches()
        self.queue: WorkQueue[Key] = WorkQueue(self.time)
        self.freshness = Freshness(self.time)
        self.health = Health(self.queue, self.freshness, self.watches)  # type: ignore[arg-type]


@pytest.fixture
def parts() -> Parts:
    return Parts()


def test_idle_operator_is_well_however_long_nothing_happens(parts: Parts) -> None:
    parts.freshness.saw("Job", "a", "j", "1", gone=False)
    parts.time.now_s = 1e6
    assert parts.health.sickness() is None
    assert parts.health.unreadiness() is None


def test_write_that_no_watch_brings_back_makes_it_unready_then_sick(parts: Parts) -> None:
    parts.freshness.wrote("Job", "a", "j", "5")
    parts.time.now_s = DEFAULT.stale_s + 1
    assert "stale" in str(parts.health.unreadiness())
    assert parts.health.sickness() is None
    parts.time.now_s = DEFAULT.dead_s + 1
    assert "dead" in str(parts.health.sickness())


def test_write_that_comes_back_is_forgotten(parts: Parts) -> None:
    parts.freshness.wrote("Job", "a", "j", "5")
    parts.freshness.saw("Job", "a", "j", "5", gone=False)
    parts.time.now_s = 1e6
    assert parts.freshness.oldest_unseen_s() == 0


def test_write_that_changed_nothing_is_not_waited_for(parts: Parts) -> None:
    parts.freshness.saw("Job", "a", "j", "5", gone=False)
    parts.freshness.wrote("Job", "a", "j", "5")
    parts.time.now_s = 1e6
    assert parts.health.unreadiness() is None


def test_api_server_that_does_not_answer_makes_it_unready_until_it_does(parts: Parts) -> None:
    parts.freshness.asked(0)
    parts.time.now_s = DEFAULT.stale_s
    parts.freshness.asked(0)
    assert parts.health.unreadiness() is None
    parts.time.now_s += 1
    assert "has not answered for" in str(parts.health.unreadiness())
    assert parts.health.sickness() is None
    parts.freshness.asked(503)
    assert parts.health.unreadiness() is None


def test_key_that_waits_too_long_makes_it_unready(parts: Parts) -> None:
    parts.queue.add(KEY)
    parts.time.now_s = DEFAULT.behind_s + 1
    assert "behind" in str(parts.health.unreadiness())


def test_reconciliation_that_never_ends_makes_it_sick(parts: Parts) -> None:
    parts.queue.add(KEY)
    parts.queue.take_due()
    parts.time.now_s = DEFAULT.stuck_s + 1
    assert "at work" in str(parts.health.sickness())


def test_watches_that_ended_or_have_not_begun_are_told(parts: Parts) -> None:
    parts.watches.ready.clear()
    assert "not begun" in str(parts.health.unreadiness())
    parts.watches.ended.set()
    assert "ended" in str(parts.health.sickness())


@pytest.fixture
def server(parts: Parts) -> Iterator[HealthServer]:
    serving = HealthServer(("127.0.0.1", 0), parts.health, lambda: b"everforge_up 1\n")
    serving.start()
    yield serving
    serving.stop()


def test_probes_are_answered_over_http(parts: Parts, server: HealthServer) -> None:
    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    assert [status(path) for path in ("/healthz", "/readyz", "/metrics", "/")] == [200, 200, 200, 404]
    parts.watches.ended.set()
    assert [status(path) for path in ("/healthz", "/readyz")] == [503, 503]


def told_of(interests_do: Callable[[Interests], None]) -> set[Key]:
    told: list[Key] = []
    interests = Interests(told.append)
    interests_do(interests)
    return set(told)


def kopt_body(*pools: str) -> dict[str, Any]:
    targets = [{"devicePool": pool} for pool in pools]
    return {"metadata": {"name": "k", "namespace": "a"}, "spec": {"targets": targets}}


K = Key("KernelOptimization", "k", "a")


def test_change_of_an_optimization_is_news_for_it_and_its_pools() -> None:
    told = told_of(lambda interests: interests.changed(OPTIMIZATIONS, kopt_body("cpu", "gpu"), gone=False))
    assert told == {K, Key("DevicePool", "cpu"), Key("DevicePool", "gpu")}


def test_change_of_a_pool_is_news_for_whoever_named_it() -> None:
    interests = Interests(lambda _key: None)
    interests.changed(OPTIMIZATIONS, kopt_body("cpu"), gone=False)
    told: list[Key] = []
    interests._add = told.append
    interests.changed(POOLS, {"metadata": {"name": "cpu"}}, gone=False)
    assert set(told) == {K, KEY}
    interests.changed(OPTIMIZATIONS, kopt_body("cpu"), gone=True)
    told.clear()
    interests.changed(POOLS, {"metadata": {"name": "cpu"}}, gone=True)
    assert told == [KEY]


def test_change_of_a_claim_is_news_for_its_pool_and_its_owner() -> None:
    body = {"metadata": {"name": "c", "namespace": "a"}, "spec": {"pool": "cpu", "owner": {"name": "k"}}}
    assert told_of(lambda interests: interests.changed(CLAIMS, body, gone=False)) == {KEY, K}


def test_change_of_a_job_is_news_for_what_its_labels_name() -> None:
    labels = {"everforge.dev/optimization": "k", "everforge.dev/device-pool": "cpu"}
    body = {"metadata": {"name": "j", "namespace": "a", "labels": labels}}
    assert told_of(lambda interests: interests.changed(JOBS, body, gone=False)) == {K, KEY}
    other = {"metadata": {"name": "j", "namespace": "a"}}
    assert told_of(lambda interests: interests.changed(JOBS, other, gone=False)) == set()


def test_nodes_heartbeat_is_no_news(make: Callable[..., dict[str, Any]]) -> None:
    told: list[Key] = []
    interests = Interests(told.append)
    interests.changed(POOLS, {"metadata": {"name": "cpu"}}, gone=False)
    for heartbeat, news in ((1, True), (2, False)):
        told.clear()
        body = make("node", "n")
        body["status"]["conditions"][0]["lastHeartbeatTime"] = str(heartbeat)
        interests.changed(NODES, body, gone=False)
        assert bool(told) is news


def test_scrape_shows_objects_and_forgets_those_that_are_gone(world: Any, make: Any, parts: Parts) -> None:
    metrics = OperatorMetrics(Registry())
    world.cluster.put("DevicePool", make("dpool"))
    applied = world.cluster.put("KernelOptimization", make("kopt"))
    world.rest()
    champion = {"devicePool": "cpu", "champion": {"speedup": "2.5"}}
    applied["status"]["targets"] = [champion]
    text = metrics.text(samples(world.cluster, parts.queue, parts.freshness)).decode()
    assert 'everforge_best_speedup_ratio{name="softmax",namespace="team-a",pool="cpu"} 2.5' in text
    assert 'everforge_optimizations{condition="Accepted",namespace="team-a"} 1.0' in text
    assert 'everforge_pool_devices{pool="cpu"} 1.0' in text
    world.cluster.remove("KernelOptimization", "softmax", "team-a")
    assert "softmax" not in metrics.text(samples(world.cluster, parts.queue, parts.freshness)).decode()


def test_every_metric_has_the_prefix_and_few_labels() -> None:
    allowed = {"kind", "result", "verb", "code", "namespace", "condition", "name", "pool"}
    for metric in OPERATOR_TABLE:
        assert metric.name.startswith(PREFIX)
        assert set(metric.labels) <= allowed
