"""What gauges say at a scrape: read off the statuses of objects, the queue and the watches."""

from collections import Counter
from collections.abc import Iterator

from everforge.operator.cluster import OPTIMIZATIONS, POOLS, Api, Cluster, ClusterUnavailable, Refused
from everforge.operator.freshness import Freshness
from everforge.operator.observed import Key
from everforge.operator.workqueue import WorkQueue
from everforge.telemetry import operator_metrics as metrics
from everforge.telemetry.operator_metrics import Sample


def samples(cluster: Cluster, queue: WorkQueue[Key], freshness: Freshness) -> Iterator[Sample]:
    """Every gauge's value now; those of objects are left out while the API server does not answer."""
    state = queue.state()
    yield Sample(metrics.QUEUE_DEPTH, (), state.waiting)
    yield Sample(metrics.QUEUE_AGE, (), state.oldest_age_s)
    yield Sample(metrics.QUEUE_FAILING, (), state.failing)
    yield Sample(metrics.WATCH_UNSEEN, (), freshness.oldest_unseen_s())
    for kind, age_s in sorted(freshness.last_event_ages_s().items()):
        yield Sample(metrics.WATCH_AGE, (kind,), age_s)
    try:
        optimizations, pools = cluster.listed(OPTIMIZATIONS), cluster.listed(POOLS)
    except (ClusterUnavailable, Refused):
        return
    yield from _of_optimizations(optimizations)
    for pool in pools:
        yield from _of_pool(pool)


def _of_optimizations(optimizations: list[Api]) -> Iterator[Sample]:
    conditions: Counter[tuple[str, str]] = Counter()
    for raw in optimizations:
        namespace, name, status = raw["metadata"]["namespace"], raw["metadata"]["name"], raw.get("status", {})
        for condition in status.get("conditions", []):
            conditions[namespace, condition["type"]] += condition["status"] == "True"
        for row in status.get("targets", []):
            if champion := row.get("champion"):
                yield Sample(metrics.SPEEDUP, (namespace, name, row["devicePool"]), float(champion["speedup"]))
    for labels, count in sorted(conditions.items()):
        yield Sample(metrics.OPTIMIZATIONS, labels, count)


def _of_pool(raw: Api) -> Iterator[Sample]:
    name, status = raw["metadata"]["name"], raw.get("status", {})
    yield Sample(metrics.POOL_DEVICES, (name,), status.get("devices", 0))
    yield Sample(metrics.POOL_RUNNERS, (name,), status.get("runners", 0))
    yield Sample(metrics.POOL_WAITING, (name,), status.get("waiting", 0))
