"""A TCP port for a server that may be restarted: free now, and not given to anybody else in between.

Ports come from below the range that the kernel hands to outgoing connections, and a file lock keeps another test run
off them; both hold while the server is down for a moment.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

# Below 32768, where Linux starts to hand out ports; above what services of a machine usually listen on.
PORTS = range(20000, 30000)


class LoopbackPort:
    """A port of this machine, ours until `release`."""

    def __init__(self, draw: random.Random) -> None:
        directory = Path(tempfile.gettempdir()) / f"everforge-ports-{os.getuid()}"
        directory.mkdir(exist_ok=True)
        for number in draw.sample(PORTS, 100):
            self.file = (directory / str(number)).open("w")
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.create_server(("127.0.0.1", number)):
                    self.number = number
                    return
            except OSError:
                self.file.close()
        raise OSError(f"no free port among a hundred of {PORTS.start} to {PORTS.stop} on 127.0.0.1")

    def release(self) -> None:
        """Let others have it."""
        self.file.close()
