"""The agent's command, which its pod runs: `python -m everforge.agents --manifest FILE --device-pool POOL …`.

Runs the campaign of one target, or of a resolved CampaignSpec (`--spec`), on runners that it claims from the cluster.

Exit codes: 0 done, with or without a champion (the last words say which); 2 the spec, the task or the arguments are
wrong; 20 device fault and 21 harness fault, to be tried again elsewhere; 22 the tracking server was away, and what it
lacks is in the outbox of the state directory; 130 and 143 told to end by SIGINT or SIGTERM, to be resumed.
"""

import argparse
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from everforge.agents.campaign_spec import Assignment, assignment_of, read_manifest, read_spec
from everforge.agents.claims import ClaimedRunners, Wanted
from everforge.agents.cluster_api import ClusterAccess, ClusterApi
from everforge.agents.metering import Meter
from everforge.agents.pod import Pod, say
from everforge.agents.reporting import reporting
from everforge.agents.runner_client import OVER_TCP, Patience
from everforge.agents.runner_supply import RunnerSupply
from everforge.agents.task_login import Login
from everforge.errors import EverforgeError, UsageError
from everforge.model.device import DeviceKind
from everforge.model.runner_claim import ClaimOwner
from everforge.model.verdict import ExitCode

# Long enough for what follows a trial at once, short beside the minute a model thinks.
REST_AFTER_S = 2.0
# An API server is restarted in less; what cannot be said by then, the operator sees by itself.
API_PATIENCE_S = 30.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m everforge.agents", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked = parser.add_argument_group("what is asked").add_mutually_exclusive_group(required=True)
    asked.add_argument("--manifest", type=Path, metavar="FILE", help="KernelOptimization as the API server has it")
    asked.add_argument("--spec", type=Path, metavar="FILE", help="resolved CampaignSpec")
    parser.add_argument("--device-pool", required=True, metavar="POOL", help="DevicePool to claim runners of")
    parser.add_argument("--device", type=DeviceKind, help="with --manifest: the kind of the pool's devices")
    parser.add_argument("--task-file", type=Path, metavar="FILE", help="with --manifest: the task, if it is not inline")
    parser.add_argument(
        "--task-login", type=Path, metavar="DIRECTORY", help="with --manifest: the mounted Secret of its task's server"
    )
    parser.add_argument("--owner", metavar="NAME/UID", help="with --spec: the KernelOptimization it is for")
    parser.add_argument("--claim", metavar="NAME", default=socket.gethostname(), help="what claims' names begin with")
    parser.add_argument("--requester", metavar="POD", default=socket.gethostname(), help="this pod's name")
    parser.add_argument("--idle-seconds", type=int, default=60, help="a claim that idles for longer may be taken back")
    parser.add_argument(
        "--release-after-seconds", type=float, default=900.0, help="and after this it is released unasked"
    )
    parser.add_argument("--api-key-file", "--llm-key-file", type=Path, metavar="FILE", help="holds the model's API key")
    parser.add_argument("--tracking-uri", help="MLflow; a SQLite file in the state directory if left out")
    parser.add_argument("--state-dir", type=Path, default=Path.home() / "everforge", help="outbox and champions")
    parser.add_argument("--store-seconds", type=float, default=600.0, help="how long MLflow is waited for")
    parser.add_argument("--metrics", default="0.0.0.0:9464", metavar="HOST:PORT", help="/metrics; empty for none")
    parser.add_argument("--last-words", type=Path, default=Path("/dev/termination-log"), help="for the pod's status")
    parser.add_argument(
        "--lost-after-seconds", type=float, default=OVER_TCP.lost_s, help="when a silent runner is lost"
    )
    parser.add_argument("--api-server", metavar="URL", help="the Kubernetes API, if not that of this pod's account")
    parser.add_argument("--namespace", help="with --api-server: where to make claims")
    return parser


def main() -> None:
    """Run the campaign and end with the code that says how it went."""
    arguments = _parser().parse_args()
    pod = Pod(
        state_dir=arguments.state_dir,
        tracking_uri=arguments.tracking_uri,
        api_key_file=arguments.api_key_file,
        last_words=arguments.last_words,
        store_s=arguments.store_seconds,
    )
    try:
        assignment = _assignment(arguments)
        runners = _runners(arguments, assignment)
        supply = RunnerSupply(runners, rest_after_s=REST_AFTER_S, close_after_s=arguments.release_after_seconds)
        with _metering(arguments.metrics) as meter, reporting(runners.report) as reports:
            code = pod.run(assignment.spec, supply, reports, meter)
    except UsageError as error:
        code = pod.ended(ExitCode.USAGE, str(error))
    except EverforgeError as error:
        code = pod.ended(ExitCode.HARNESS_FAULT, str(error))
    sys.exit(code)


def _assignment(arguments: argparse.Namespace) -> Assignment:
    if arguments.spec is not None:
        name, _, uid = (arguments.owner or "").partition("/")
        if not name or not uid:
            raise UsageError("--spec needs --owner NAME/UID, the KernelOptimization that claims are made for")
        return Assignment(spec=read_spec(arguments.spec), owner=ClaimOwner(name=name, uid=uid))
    if arguments.device is None:
        raise UsageError("--manifest needs --device, the kind of the pool's devices")
    manifest = read_manifest(arguments.manifest)
    login = Login.mounted_at(arguments.task_login) if arguments.task_login is not None else None
    return assignment_of(manifest, arguments.device_pool, arguments.device, arguments.task_file, login)


def _runners(arguments: argparse.Namespace, assignment: Assignment) -> ClaimedRunners:
    if arguments.api_server is not None:
        access = ClusterAccess(arguments.api_server, arguments.namespace or "default")
    else:
        access = ClusterAccess.of_pod(os.environ)
    wanted = Wanted(
        pool=arguments.device_pool,
        owner=assignment.owner,
        stem=arguments.claim,
        requester=arguments.requester,
        priority=assignment.priority,
        idle_seconds=arguments.idle_seconds,
    )
    patience = Patience(OVER_TCP.news_s, OVER_TCP.connect_s, OVER_TCP.beat_s, lost_s=arguments.lost_after_seconds)
    return ClaimedRunners(ClusterApi(access, API_PATIENCE_S), wanted, say, patience)


@contextmanager
def _metering(address: str) -> Iterator[Meter | None]:
    """The meter behind /metrics; None where nobody is to scrape it. Raises UsageError if the port is taken."""
    host, _, port = address.rpartition(":")
    if not address:
        yield None
        return
    if not port.isdigit():
        raise UsageError(f"--metrics {address!r} is not HOST:PORT")
    from everforge.telemetry.metrics import metrics_served

    with metrics_served(int(port), host) as metrics:
        yield metrics


if __name__ == "__main__":
    main()
