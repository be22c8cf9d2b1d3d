"""Start a cluster and leave it running: `python tests/cluster/up.py`, or `make cluster-up`. `down.py` ends it.

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


def up() -> int:
    """Start a keeper unless there is one, and tell where the kubeconfig is."""
    if is_up():
        print(f"A cluster is up already. export KUBECONFIG={KUBECONFIG}")
        return 0
    binaries = cluster_binaries.build_unless_found(cluster_binaries.CONTROL_PLANE)
    KUBECONFIG.unlink(missing_ok=True)
    started = time.monotonic()
    with LOG.open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, "--keep"],
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


def keep() -> int:
    """Own the servers until somebody asks for the end."""
    lock = try_lock()
    if lock is None:
        return 0
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with lock, new_control_plane() as plane:
        KEEPER_PID.write_text(str(os.getpid()))
        written = KUBECONFIG.with_suffix(".unfinished")
        written.write_bytes(plane.kubeconfig.read_bytes())
        written.chmod(0o600)
        written.rename(KUBECONFIG)
        signal.sigwait(ends)
        KUBECONFIG.unlink(missing_ok=True)
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="be the keeper, in the foreground; ends on SIGTERM")
    try:
        return keep() if parser.parse_args().keep else up()
    except cluster_binaries.BinariesMissing as missing:
        print(f"There is no cluster to be had here. {missing}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
