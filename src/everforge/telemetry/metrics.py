"""The Prometheus metrics of a campaign, each named once, in `TABLE`; `docs/reference/metrics.md` is made from it.

`CampaignMetrics` is the `Meter` that `agents/metering.py` and the outbox report to; `metrics_served` answers
/metrics with it. Labels have few values: never a trial, a candidate or a message, which would make a time series
each. The one file that imports prometheus_client.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

from everforge.errors import UsageError
from everforge.model.device import DeviceKind
from everforge.model.trial import Conversation, Trial

PREFIX = "everforge_"
# A scrape comes from this machine or through a tunnel: nothing else of a workstation is opened to a network.
ADDRESS = "127.0.0.1"
# A Triton kernel is verified in 0.1 s, a C++ one compiles for 30 s, and the default timeout of a trial is 120 s.
STAGE_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Type(StrEnum):
    """Prometheus metric types in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One metric as it is exposed."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()


# The model is the campaign's setting, one for each sitting, so it has as many values as a person chooses models.
TRIALS = Metric(
    "everforge_trials_total",
    Type.COUNTER,
    "Finished trials; the model is empty for candidates no model wrote",
    ("verdict", "device", "generator", "model"),
)
TRIAL_SECONDS = Metric(
    "everforge_trial_seconds", Type.HISTOGRAM, "Wall time of a measured trial by stage", ("stage", "device")
)
DEVICE_SECONDS = Metric(
    "everforge_device_seconds_total", Type.COUNTER, "Time baselines and trials held a device", ("device",)
)
LLM_TOKENS = Metric(
    "everforge_llm_tokens_total", Type.COUNTER, "Tokens sent to and received from models", ("model", "direction")
)
LLM_DOLLARS = Metric(
    "everforge_llm_dollars_total", Type.COUNTER, "Cost of model calls, where the price is known", ("model",)
)
OUTBOX_DEPTH = Metric("everforge_outbox_depth", Type.GAUGE, "Writes that wait for the tracking server")
STORE_WRITE_FAILURES = Metric(
    "everforge_store_write_failures_total", Type.COUNTER, "Attempts to write that the tracking server did not take"
)

TABLE = (
    TRIALS,
    TRIAL_SECONDS,
    DEVICE_SECONDS,
    LLM_TOKENS,
    LLM_DOLLARS,
    OUTBOX_DEPTH,
    STORE_WRITE_FAILURES,
)


class CampaignMetrics:
    """Counts what campaigns do, in a registry of the caller's. Safe between threads, as its parts are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._trials = _counter(TRIALS, registry)
        self._trial_seconds = Histogram(
            TRIAL_SECONDS.name,
            TRIAL_SECONDS.help,
            TRIAL_SECONDS.labels,
            registry=registry,
            buckets=STAGE_BUCKETS_S,
        )
        self._device_seconds = _counter(DEVICE_SECONDS, registry)
        self._llm_tokens = _counter(LLM_TOKENS, registry)
        self._llm_dollars = _counter(LLM_DOLLARS, registry)
        self._outbox_depth = Gauge(OUTBOX_DEPTH.name, OUTBOX_DEPTH.help, registry=registry)
        self._store_write_failures = _counter(STORE_WRITE_FAILURES, registry)

    def trial_finished(self, trial: Trial, reused: bool) -> None:
        """Count a trial by its verdict; where its time went, unless an earlier evaluation was `reused`."""
        judged = trial.evaluation
        device = judged.environment.device.value
        model = trial.written_by or ""
        self._trials.labels(judged.verdict.value, device, trial.candidate.generator.value, model).inc()
        if reused:
            return
        for stage in type(judged.stages).model_fields:
            self._trial_seconds.labels(stage, device).observe(getattr(judged.stages, stage))
        self.device_held(judged.environment.device, judged.device_seconds)

    def device_held(self, device: DeviceKind, seconds: float) -> None:
        """Count time a device was held, as by the baselines of a session."""
        self._device_seconds.labels(device.value).inc(seconds)

    def model_replied(self, conversation: Conversation) -> None:
        """Count tokens and dollars of a conversation, whether or not a trial came of it."""
        model = conversation.model
        self._llm_tokens.labels(model, "prompt").inc(conversation.prompt_tokens)
        self._llm_tokens.labels(model, "completion").inc(conversation.completion_tokens)
        if conversation.dollars is not None:
            self._llm_dollars.labels(model).inc(conversation.dollars)

    def outbox_waits(self, writes: int) -> None:
        """Show how many writes wait for the tracking server."""
        self._outbox_depth.set(writes)

    def store_write_failed(self) -> None:
        """Count an attempt to write that the tracking server did not take."""
        self._store_write_failures.inc()


@contextmanager
def metrics_served(port: int, address: str = ADDRESS) -> Iterator[CampaignMetrics]:
    """Metrics that http://ADDRESS:PORT/metrics shows while the block runs.

    Raises UsageError for a port that cannot be listened on.
    """
    registry = CollectorRegistry()
    metrics = CampaignMetrics(registry)
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        raise UsageError(f"--metrics-port {port}: cannot listen on {address}:{port}: {error.strerror}") from None
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Registry:
    """A registry for metrics whose table is in another file, as the operator's is."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

    def counter(self, metric: Metric) -> Counter:
        """A counter of this registry."""
        return _counter(metric, self._registry)

    def gauge(self, metric: Metric) -> Gauge:
        """A gauge of this registry."""
        return Gauge(metric.name, metric.help, metric.labels, registry=self._registry)

    def histogram(self, metric: Metric, buckets: Sequence[float]) -> Histogram:
        """A histogram of this registry."""
        return Histogram(metric.name, metric.help, metric.labels, registry=self._registry, buckets=buckets)

    def text(self) -> bytes:
        """What a scrape gets."""
        return generate_latest(self._registry)


def _counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    return Counter(metric.name, metric.help, metric.labels, registry=registry)
