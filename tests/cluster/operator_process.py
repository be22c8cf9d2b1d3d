"""The operator as its Deployment runs it, as a process on this machine, with the rights of deploy/operator.yaml."""

import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loopback_port import LoopbackPort

ROOT = Path(__file__).parents[2]
ACCOUNT = "system:serviceaccount:everforge-system:everforge-operator"
GROUPS = ("system:serviceaccounts", "system:serviceaccounts:everforge-system")
# A machine under heavy load; everything here takes seconds on an idle one.
DEADLINE_S = 60.0


def eventually(look: Callable[[], Any], what: str) -> Any:
    """What `look` returns once it is truthy; controllers work in their own time."""
    deadline = time.monotonic() + DEADLINE_S
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S:.0f} s"
        time.sleep(0.2)
    return seen


class OperatorProcess:
    """Started, killed and started again by tests."""

    def __init__(self, kubeconfig: Path, log: Path, *options: str) -> None:
        self._kubeconfig, self.log, self._options = kubeconfig, log, options
        self._port = LoopbackPort(random.Random())
        self.port = self._port.number
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns when it is ready."""
        command = [
            sys.executable,
            "-m",
            "everforge.operator",
            "--agent-image=agent:test",
            f"--listen=127.0.0.1:{self.port}",
            *self._options,
        ]
        environment = {**os.environ, "KUBECONFIG": str(self._kubeconfig)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)
        eventually(lambda: self.answers("/readyz")[0] == 200, "the operator's readiness")

    def kill(self) -> None:
        """Kill it without a warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Tell it to end; its exit code."""
        return self._end(signal.SIGTERM)

    def answers(self, path: str) -> tuple[int, str]:
        """Status and text of one of its pages; 0 where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def close(self) -> None:
        """Kill it, and let others have its port."""
        self.kill()
        self._port.release()

    def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(timeout=60)
