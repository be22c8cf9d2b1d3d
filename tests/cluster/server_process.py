"""One server of a test cluster as a process: started, waited for, stopped, and never left behind.

`control_plane.py` and `full_node.py` own these. Output goes to a file, which is what a failed start is explained with.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LIFELINE = Path(__file__).with_name("lifeline.py")
LOG_TAIL_LINES = 25
LOG_LINE_CHARACTERS = 400
# A probe is one request to loopback; asking ten times a second costs nothing and adds at most 0.1 s to a start.
PROBE_EVERY_S = 0.1


class ServerFailed(Exception):
    """A server ended, or did not get ready in time; the message ends with the last lines of its log."""


class ServerProcess:
    """A program with arguments that can be started and stopped again and again; its log grows over all of them."""

    def __init__(self, command: Sequence[str | Path], log_path: Path) -> None:
        self.name = Path(command[0]).name
        self.command = [str(part) for part in command]
        self.log_path = log_path
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program; it dies with this one, however this one ends.

        Call it from the main thread: to the kernel, the thread that starts a process is its parent.
        """
        if self.is_running():
            return
        lifeline = [sys.executable, "-I", "-S", str(LIFELINE), str(os.getpid())]
        with self.log_path.open("ab") as log:
            # A session of its own, so that Ctrl-C reaches the servers through stop(), in order.
            self.process = subprocess.Popen(
                [*lifeline, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=without_proxies(os.environ),
                start_new_session=True,
            )

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask the program to end, and kill it when it has not after `grace_s`."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """End the program without a chance to tidy up, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def is_running(self) -> bool:
        """Whether the program was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def log_tail(self) -> str:
        """The last lines it wrote."""
        if not self.log_path.exists():
            return ""
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(line[:LOG_LINE_CHARACTERS] for line in lines)

    def wait_until(self, is_ready: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Ask until the answer is yes. Raises ServerFailed when the program ends first, or the time is up."""
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if not self.is_running():
                raise ServerFailed(self._explained(f"ended before {what}"))
            if time.monotonic() > deadline:
                raise ServerFailed(self._explained(f"did not get to {what} within {timeout_s:.0f} s"))
            time.sleep(PROBE_EVERY_S)

    def _explained(self, failure: str) -> str:
        return f"{self.name} {failure}. The end of its log, {self.log_path}:\n{self.log_tail()}"


def without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Servers of a cluster talk to each other, also at addresses that no_proxy does not know."""
    return {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
