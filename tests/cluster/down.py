"""End the cluster that `up.py` left running, and wait until it is gone: `python tests/cluster/down.py`."""

import os
import signal
import sys
import time

from up import KEEPER_PID, LOG, LOOK_EVERY_S, is_up

# Pods are given half a minute, and then servers ten seconds each, before they are killed.
GONE_TIMEOUT_S = 120.0


def main() -> int:
    """Ask the keeper to end its servers."""
    if not is_up():
        print("No cluster is up.")
        return 0
    os.kill(int(KEEPER_PID.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + GONE_TIMEOUT_S
    while is_up():
        if time.monotonic() > deadline:
            print(f"The cluster's keeper does not end; {LOG} may say why.", file=sys.stderr)
            return 1
        time.sleep(LOOK_EVERY_S)
    print("The cluster is down.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
