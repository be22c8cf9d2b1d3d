"""The Prometheus metrics of the operator, each named once, in `OPERATOR_TABLE`.

`operator/__main__.py` counts with them. What is true of objects is read off their statuses when a scrape comes, so a
series goes with its object.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from everforge.telemetry.metrics import Metric, Registry, Type

RECONCILE_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

RECONCILED = Metric("everforge_reconcile_total", Type.COUNTER, "Reconciliations by how they ended", ("kind", "result"))
RECONCILE_SECONDS = Metric(
    "everforge_reconcile_duration_seconds", Type.HISTOGRAM, "Time of a reconciliation", ("kind",)
)
QUEUE_DEPTH = Metric("everforge_workqueue_depth", Type.GAUGE, "Keys that are due and wait for a worker")
QUEUE_AGE = Metric("everforge_workqueue_oldest_age_seconds", Type.GAUGE, "Age of the key that waits longest")
QUEUE_FAILING = Metric("everforge_workqueue_failing", Type.GAUGE, "Keys whose last reconciliation failed")
WATCH_AGE = Metric(
    "everforge_watch_last_event_age_seconds", Type.GAUGE, "Time since a watch brought an event", ("kind",)
)
WATCH_UNSEEN = Metric(
    "everforge_watch_unseen_write_age_seconds", Type.GAUGE, "Age of the oldest write that no watch has brought back"
)
API_REQUESTS = Metric("everforge_api_requests_total", Type.COUNTER, "Requests to the API server", ("verb", "code"))
OPTIMIZATIONS = Metric(
    "everforge_optimizations", Type.GAUGE, "KernelOptimizations whose condition is True", ("namespace", "condition")
)
SPEEDUP = Metric(
    "everforge_best_speedup_ratio", Type.GAUGE, "Verified speedup of a target's champion", ("namespace", "name", "pool")
)
POOL_DEVICES = Metric("everforge_pool_devices", Type.GAUGE, "Devices that a pool's nodes offer", ("pool",))
POOL_RUNNERS = Metric("everforge_pool_runners", Type.GAUGE, "Runners that hold a device of a pool", ("pool",))
POOL_WAITING = Metric("everforge_pool_waiting", Type.GAUGE, "Claims that wait for a runner of a pool", ("pool",))

OPERATOR_TABLE = (
    RECONCILED,
    RECONCILE_SECONDS,
    QUEUE_DEPTH,
    QUEUE_AGE,
    QUEUE_FAILING,
    WATCH_AGE,
    WATCH_UNSEEN,
    API_REQUESTS,
    OPTIMIZATIONS,
    SPEEDUP,
    POOL_DEVICES,
    POOL_RUNNERS,
    POOL_WAITING,
)


@dataclass(frozen=True)
class Sample:
    """One value at the time of a scrape."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


class OperatorMetrics:
    """Counts what the operator does; gauges are told at each scrape. Safe between threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._reconciled = registry.counter(RECONCILED)
        self._seconds = registry.histogram(RECONCILE_SECONDS, RECONCILE_BUCKETS_S)
        self._requests = registry.counter(API_REQUESTS)
        self._gauges = {m.name: registry.gauge(m) for m in OPERATOR_TABLE if m.type is Type.GAUGE}

    def reconciled(self, kind: str, seconds: float, result: str) -> None:
        """Count a reconciliation: `ok`, `unavailable`, `refused` or `error`."""
        self._reconciled.labels(kind, result).inc()
        self._seconds.labels(kind).observe(seconds)

    def requested(self, verb: str, code: int) -> None:
        """Count a request; 0 is no answer."""
        self._requests.labels(verb, str(code)).inc()

    def text(self, samples: Iterable[Sample]) -> bytes:
        """What a scrape gets: counters, and these gauges and no others."""
        for metric in OPERATOR_TABLE:
            if metric.type is Type.GAUGE and metric.labels:
                self._gauges[metric.name].clear()
        for sample in samples:
            gauge = self._gauges[sample.metric.name]
            (gauge.labels(*sample.labels) if sample.labels else gauge).set(sample.value)
        return self._registry.text()
