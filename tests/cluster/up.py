"""Start a cluster and leave it running: `python tests/cluster/up.py`, or `make cluster-up`. `down.py` ends it.

With `--full-node`, or `make node-up`, it runs pods.
A keeper in the background owns the servers. It holds a lock while it lives, so that nobody needs to trust a process id.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

import cluster_binaries
from control_plane import READY_TIMEOUT_S, new_control_plane
from full_node import NodeImpossible, new_full_node, why_not

STATE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "everforge" / "cluster"
KUBECONFIG = STATE / "kubeconfig"
KEEPER_PID = STATE / "keeper.pid"
LOG = STATE / "keeper.log"
LOCK = STATE / "lock"
LOOK_EVERY_S = 0.2


def is_up() -> bool:
    """Whether a keeper lives: nobody else holds the lock."""
    lock = try_lock()
    if lock is not None:
        lock.close()
    return lock is None


def try_lock() -> TextIO | None:
    """The lock, held until the file is closed; None while a keeper has it."""
    STATE.mkdir(parents=True, exist_ok=True)
    file = LOCK.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def up(full_node: bool) -> int:
    """Start a keeper unless there is one, and tell where the kubeconfig is. Raises BinariesMissing, NodeImpossible."""
    if is_up():
        print(f"A cluster is up already. export KUBECONFIG={KUBECONFIG}")
        return 0
    if full_node and (reason := why_not()):
        raise NodeImpossible(reason)
    names = cluster_binaries.FOR_PEOPLE if full_node else cluster_binaries.CONTROL_PLANE
    binaries = cluster_binaries.build_unless_found(names)
    KUBECONFIG.unlink(missing_ok=True)
    started = time.monotonic()
    with LOG.open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, "--keep", *(["--full-node"] if full_node else [])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while not KUBECONFIG.exists():
        if keeper.poll() is not None or time.monotonic() - started > 2 * READY_TIMEOUT_S:
            print(f"The cluster did not start. {LOG} says:\n{LOG.read_text()}", file=sys.stderr)
            return 1
        time.sleep(LOOK_EVERY_S)
    print(
        f"Up after {time.monotonic() - started:.1f} s. kubectl is {binaries / 'kubectl'}; `make cluster-down` ends it."
    )
    print(f"export KUBECONFIG={KUBECONFIG}")
    return 0


def keep(full_node: bool) -> int:
    """Own the servers until somebody asks for the end."""
    lock = try_lock()
    if lock is None:
        return 0
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with lock, new_full_node() if full_node else new_control_plane() as cluster:
        KEEPER_PID.write_text(str(os.getpid()))
        written = KUBECONFIG.with_suffix(".unfinished")
        written.write_bytes(cluster.kubeconfig.read_bytes())
        written.chmod(0o600)
        written.rename(KUBECONFIG)
        signal.sigwait(ends)
        KUBECONFIG.unlink(missing_ok=True)
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="be the keeper, in the foreground; ends on SIGTERM")
    parser.add_argument("--full-node", action="store_true", help="run pods: needs root and containerd")
    options = parser.parse_args()
    try:
        return (keep if options.keep else up)(options.full_node)
    except (cluster_binaries.BinariesMissing, NodeImpossible) as missing:
        print(f"There is no cluster to be had here. {missing}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
