"""The option `--metrics-port` of `everforge run` and `everforge suite`, and what answers there while they run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from everforge.agents.metering import Meter

MetricsPort = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="Serve Prometheus metrics at http://127.0.0.1:PORT/metrics meanwhile."),
]


@contextmanager
def metering_at(port: int | None) -> Iterator[Meter | None]:
    """The meter behind /metrics on a port of the loopback; None counts nothing. Raises UsageError if it is taken."""
    if port is None:
        yield None
        return
    # Only here: a machine that serves no metrics does without prometheus_client.
    from everforge.telemetry.metrics import metrics_served

    with metrics_served(port) as metrics:
        yield metrics
