"""The operator's command: `python -m everforge.operator`, one replica, replaced and never joined by the next.

Everything it knows is in the cluster, so it may be killed at any moment. On SIGTERM it takes no new key, lets the
reconciliations at work end, and goes. Exit codes: 0 told to end; 1 the watches ended, to be started again; 2 wrong
arguments; 3 no cluster.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from types import FrameType
from typing import Any

from everforge.clock import SystemClock
from everforge.operator.cluster import Cluster, ClusterUnavailable, Refused, Resource
from everforge.operator.freshness import Freshness
from everforge.operator.health import Health, HealthServer, Limits
from everforge.operator.informer import Informer
from everforge.operator.interests import Interests
from everforge.operator.kubernetes_cluster import KubernetesCluster
from everforge.operator.observed import Key
from everforge.operator.reconciler import Reconciler
from everforge.operator.scrape import samples
from everforge.operator.settings import Settings
from everforge.operator.workers import Workers
from everforge.operator.workqueue import WorkQueue
from everforge.telemetry.metrics import Registry
from everforge.telemetry.operator_metrics import OperatorMetrics

ENDED, NO_CLUSTER = 1, 3
# Below the 30 s that Kubernetes gives a pod; a reconciliation takes under a second.
GRACE_S = 20.0
_log = logging.getLogger("everforge.operator")


class Operator:
    """All parts of one process, put together."""

    def __init__(self, settings: Settings, address: tuple[str, int], limits: Limits) -> None:
        clock = SystemClock()
        self._metrics = OperatorMetrics(Registry())
        self._freshness = Freshness(clock.monotonic_s)
        self._queue: WorkQueue[Key] = WorkQueue(clock.monotonic_s)
        self._cluster: Cluster = KubernetesCluster.of_environment(self._asked, self._wrote, limits.answer_s)
        self._interests = Interests(self._queue.add)
        self._informer = Informer(self._changed)
        reconciler = Reconciler(self._cluster, settings, clock)
        self._workers = Workers(self._queue, reconciler.reconcile, clock.monotonic_s, self)
        health = Health(self._queue, self._freshness, self._informer, limits)
        self._server = HealthServer(address, health, self._scraped)
        self._told_to_end = threading.Event()

    def run(self) -> int:
        """Work until told to end, or until the watches end; the process's exit code."""
        self._server.start()
        self._informer.start()
        threads = self._workers.start()
        _log.info("at work; /healthz, /readyz and /metrics are on port %d", self._server.port)
        while not self._told_to_end.wait(0.5) and not self._informer.ended.is_set():
            pass
        self._queue.close()
        for thread in threads:
            thread.join(GRACE_S / len(threads))
        self._informer.stop(GRACE_S / 2)
        self._server.stop()
        return 0 if self._told_to_end.is_set() else ENDED

    def end(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Ask it to end; a signal's handler."""
        self._told_to_end.set()

    def reconciled(self, key: Key, seconds: float, error: Exception | None) -> None:
        """Count a reconciliation, and log one that failed."""
        self._metrics.reconciled(key.kind, seconds, _result_of(error))
        if isinstance(error, ClusterUnavailable | Refused):
            _log.warning("%s %s/%s: %s", key.kind, key.namespace, key.name, error)
        elif error is not None:
            _log.error("%s %s/%s: a defect", key.kind, key.namespace, key.name, exc_info=error)

    def _changed(self, resource: Resource, body: Mapping[str, Any], gone: bool) -> None:
        meta = body["metadata"]
        version = meta.get("resourceVersion", "")
        self._freshness.saw(resource.kind, meta.get("namespace", ""), meta["name"], version, gone)
        self._interests.changed(resource, body, gone)

    def _asked(self, verb: str, code: int) -> None:
        self._metrics.requested(verb, code)
        self._freshness.asked(code)

    def _wrote(self, written: Mapping[str, Any]) -> None:
        # ConfigMaps and Events are written and never watched.
        if written.get("kind") in ("KernelOptimization", "DevicePool", "RunnerClaim", "Job"):
            meta = written["metadata"]
            version = meta.get("resourceVersion", "")
            self._freshness.wrote(written["kind"], meta.get("namespace", ""), meta["name"], version)

    def _scraped(self) -> bytes:
        return self._metrics.text(samples(self._cluster, self._queue, self._freshness))


def _result_of(error: Exception | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, ClusterUnavailable):
        return "unavailable"
    return "refused" if isinstance(error, Refused) else "error"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m everforge.operator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = Settings()
    parser.add_argument("--agent-image", required=True, help="image of agents' pods")
    parser.add_argument("--agent-service-account", default=defaults.agent_service_account, help="(%(default)s)")
    parser.add_argument("--image-pull-policy", default=defaults.image_pull_policy, help="of agents (%(default)s)")
    for name in ("cpu", "memory"):
        default = getattr(defaults.agent_resources, name)
        parser.add_argument(f"--agent-{name}", default=default, help="request and limit of agents' pods (%(default)s)")
    parser.add_argument("--tracking-uri", help="MLflow, as agents reach it; it goes into every agent's arguments")
    parser.add_argument("--listen", default="0.0.0.0:8080", help="/healthz, /readyz, /metrics (%(default)s)")
    limits = Limits()
    for name, seconds, meaning in (
        ("stale", limits.stale_s, "not ready when the watches do not see a write for so long, or nobody answers"),
        ("dead", limits.dead_s, "and not well after this"),
        ("behind", limits.behind_s, "not ready when a key that is due waits for so long"),
        ("stuck", limits.stuck_s, "not well when a reconciliation takes so long"),
        ("answer", limits.answer_s, "how long an answer of the API server is waited for"),
    ):
        parser.add_argument(f"--{name}-seconds", type=float, default=seconds, help=f"{meaning} (%(default)g)")
    return parser


def _limits_of(arguments: argparse.Namespace) -> Limits:
    return Limits(
        stale_s=arguments.stale_seconds,
        dead_s=arguments.dead_seconds,
        behind_s=arguments.behind_seconds,
        stuck_s=arguments.stuck_seconds,
        answer_s=arguments.answer_seconds,
    )


def main() -> int:
    """Read the command line, and work."""
    arguments = _parser().parse_args()
    host, _, port = arguments.listen.rpartition(":")
    if not port.isdigit():
        _parser().error(f"--listen {arguments.listen!r} is not HOST:PORT, such as 0.0.0.0:8080")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    settings = Settings(
        agent_image=arguments.agent_image,
        agent_service_account=arguments.agent_service_account,
        image_pull_policy=arguments.image_pull_policy,
        agent_resources=replace(Settings().agent_resources, cpu=arguments.agent_cpu, memory=arguments.agent_memory),
        tracking_uri=arguments.tracking_uri,
    )
    try:
        operator = Operator(settings, (host, int(port)), _limits_of(arguments))
    except ClusterUnavailable as error:
        _log.error("%s", error)
        return NO_CLUSTER
    signal.signal(signal.SIGTERM, operator.end)
    signal.signal(signal.SIGINT, operator.end)
    return operator.run()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # The watches' and the probes' threads may hang in a connection; everything that matters is in the cluster.
    os._exit(code)
