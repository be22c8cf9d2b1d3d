"""A runner on this machine: a process of its own, with the device and without the keys.

`everforge run`, `suite` and `evaluate` start one. It gets an allow-listed environment, its token on standard
input (never in an argument, which other users could read), and is killed with its whole group at the end.
"""

import contextlib
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from everforge.agents.runner_client import RunnerClient
from everforge.errors import HarnessFault

# Importing torch from a cold disk was seen to take 40 s.
READY_S = 180.0
# A runner that is asked to end has at most a candidate to kill.
GRACE_S = 5.0
# Between closing its socket and having an exit status, a dying process was seen to take milliseconds.
DYING_S = 1.0
LOG_LINES_SHOWN = 20

# The directory is made for this one runner, which removes it should we be killed.
RUNNER = ("-m", "everforge.runners", "--remove-directory")

_ALLOWED = re.compile(
    r"PATH|PYTHONPATH|HOME|LANG|LC_\w+|LD_LIBRARY_PATH|TMPDIR|CC|CXX|OMP_NUM_THREADS"
    r"|(CUDA|NVIDIA|ZE|ONEAPI|SYCL|XDG|TRITON|TORCH)_\w+"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


# Of the runner itself, which computes truths; what it times decides for itself. Beside other busy processes a sum over
# a million numbers on two threads that wait for each other by spinning took 12 to 30 ms, 0.1 ms by sleeping.
PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}


def runner_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables a runner may see: toolchain and device, never anything that sounds like a secret."""
    return {name: value for name, value in environment.items() if _ALLOWED.fullmatch(name) and not _SECRET.search(name)}


class LocalRunner(RunnerClient):
    """A runner process and the client that talks to it."""

    def __init__(self, process: "subprocess.Popen[bytes]", directory: Path, token: str) -> None:
        super().__init__(directory / "socket", token, self._said_at_the_end)
        self._process = process
        self._directory = directory

    @property
    def pid(self) -> int:
        """Process id, which is also its group's."""
        return self._process.pid

    def close(self) -> None:
        """End the process and everything it started, and remove its directory."""
        _end_group(self._process)
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def await_ready(self, timeout_s: float) -> None:
        """Wait until it listens. Raises HarnessFault, with the end of its log, if it does not."""
        if self._process.stdout is None:
            raise HarnessFault("the runner was started without a pipe for its standard output")
        readable, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        line = self._process.stdout.readline().strip() if readable else b""
        if line != b"ready":
            waited = "ended" if readable else f"was not ready after {timeout_s:g} s"
            raise HarnessFault(f"the runner process {waited}{self._said_at_the_end()}")

    def _said_at_the_end(self) -> str:
        lines = (self._directory / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        shown = "its log ends:\n  " + "\n  ".join(lines[-LOG_LINES_SHOWN:]) if lines else "it logged nothing"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(DYING_S)
        status = self._process.returncode
        return f"; its process: {_ended(status)}; {shown}"


def _ended(status: int | None) -> str:
    if status is None:
        return "still running"
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def start_local_runner(
    ready_s: float = READY_S, program: Sequence[str] = RUNNER, device_index: int | None = None
) -> LocalRunner:
    """Start a runner process on this machine: Python with `program`, and the socket it is to listen on.

    `device_index` pins it to that device of its kind, counted from 0 among the visible; None leaves it the first.
    Raises HarnessFault if it does not come up within `ready_s`.
    """
    # Short: a Unix socket's path may have 107 characters. Candidates' users pass through it to directories of their
    # own, so that all a killed runner leaves lies below it; nobody else can list it.
    directory = Path(tempfile.mkdtemp(prefix="everforge-runner-"))
    directory.chmod(0o711)
    token = secrets.token_urlsafe(32)
    pin = () if device_index is None else ("--device-index", str(device_index))
    with open(os.open(directory / "log", os.O_CREAT | os.O_WRONLY, 0o600), "wb") as log:
        process = subprocess.Popen(
            [sys.executable, *program, *pin, "--socket", str(directory / "socket")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=PATIENT_THREADS | runner_environment(os.environ) | {"TMPDIR": str(directory)},
            cwd=directory,
            start_new_session=True,
        )
    runner = LocalRunner(process, directory, token)
    try:
        _send_line(process, token)
        runner.await_ready(ready_s)
    except BaseException:
        runner.close()
        raise
    return runner


def _send_line(process: "subprocess.Popen[bytes]", line: str) -> None:
    """Write a line to standard input, which then stays open: its end tells the runner that we are gone."""
    if process.stdin is None:
        return
    try:
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return  # it ended at once; await_ready says why


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Let it end by itself once its standard input does, then make sure of the whole group."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    for number in (None, signal.SIGTERM):
        if number is not None:
            _signal_group(process, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
            break
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
