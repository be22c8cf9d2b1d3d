"""Starts the zygote and spawns workers from it; the parent's half of `zygote.py`. Used by sessions."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from everforge.errors import HarnessFault
from everforge.runners.isolation import jail
from everforge.runners.isolation import kernel_calls as kernel
from everforge.runners.isolation.channel import Channel, ChannelClosed, ChannelTimeout, close_all
from everforge.runners.isolation.exchange import AskingEnd
from everforge.runners.isolation.file_view import view_of_this_machine
from everforge.runners.isolation.worker_handle import Worker, read_line

# Importing torch took 2 to 8 s on the machines seen; a cold disk may need several times that.
_START_TIMEOUT_S = 120.0
_SPAWN_TIMEOUT_S = 30.0
# Where stdout and stderr of a worker go.
_OUTPUT_FILE = "output.txt"
# Nobody waits longer for a directory that is not in memory: on a slow disk 500 nested ones took 2 s.
_REMOVE_TIMEOUT_S = 1.0

# What a device's own libraries need to be found and told which device to use; nothing here is a secret.
_PASSED_ON = (
    "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ONEAPI_DEVICE_SELECTOR",
    "ZE_AFFINITY_MASK", "CXX", "CC", "OMP_NUM_THREADS", "TRITON_INTERPRET",
)  # fmt: skip


class Nursery:
    """A running zygote. Workers get a directory, an environment and, unless trusted, a jail of their own."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))
        self._spawned = 0
        self._removals: list[subprocess.Popen[bytes]] = []
        self._view = view_of_this_machine(str(self._root))
        self._channel, theirs = Channel.pair()
        probe = self._root / "probe"
        probe.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "everforge.runners.isolation.zygote", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env=child_environment(root) | _zygote_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        try:
            asked = {"directory": str(probe), "view": vars(self._view)}
            self._channel.send(asked, timeout_s=_SPAWN_TIMEOUT_S)
            message, _ = self._channel.receive(_START_TIMEOUT_S)
        except (ChannelClosed, ChannelTimeout) as error:
            self.close()
            raise HarnessFault(f"the runner's warm process did not start: {error}") from error
        self.layers = tuple(message["layers"])
        if jail.shares_sight(self.layers):
            kernel.forbid_tracing()
        # Address space of Python with torch mapped, before any candidate: limits come on top of it.
        self.address_bytes = int(message["address_bytes"])

    @property
    def is_alive(self) -> bool:
        """Whether workers can still be had."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the zygote and, through it, every worker."""
        self._channel.close()
        for process in (self._process, *self._removals):
            process.kill()
            process.wait()

    @contextmanager
    def worker(self, limits: jail.Limits | None) -> Iterator[Worker]:
        """A fresh process, ended on exit with all it started. Without limits it is trusted and not jailed."""
        directory = Path(tempfile.mkdtemp(prefix="worker-", dir=self._root))
        worker = None
        try:
            worker = self._spawn(directory, limits)
            yield worker
        finally:
            if worker is not None:
                worker.end()
                worker.release()
            removal = _remove(directory)
            self._removals = [one for one in (*self._removals, removal) if one is not None and one.poll() is None]

    def _spawn(self, directory: Path, limits: jail.Limits | None) -> Worker:
        self._spawned += 1
        # A user id of its own for each of 1000 consecutive jails: none can signal or trace another.
        uid = jail.FIRST_UID + self._spawned % 1000
        if limits is not None and "uid" in self.layers:
            os.chown(directory, uid, uid)
        requests, theirs = AskingEnd.pair()
        status_end, status = os.pipe()
        told = os.open(directory / _OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        # Opened before the worker lives: it could put a link or a pipe in the file's place.
        output = os.open(directory / _OUTPUT_FILE, os.O_RDONLY)
        message = {
            "directory": str(directory),
            "environment": child_environment(directory) | self._compilers(limits),
            "cell": None if limits is None else self._cell(limits, uid),
        }
        with contextlib.ExitStack() as undo:
            undo.callback(requests.close)
            undo.callback(close_all, (status_end, output))
            try:
                self._channel.send(message, (theirs.fileno(), status, told), timeout_s=_SPAWN_TIMEOUT_S)
            except (ChannelClosed, ChannelTimeout) as error:
                raise HarnessFault("the runner's warm process is gone") from error
            finally:
                theirs.close()
                close_all((status, told))
            init = _first_pid(status_end)
            undo.pop_all()
        return Worker(requests, status_end, output, init, () if limits is None else self.layers)

    def _compilers(self, limits: jail.Limits | None) -> dict[str, str]:
        """What trusted workers compile, the next one finds: a third of what opening a session costs on a CPU.

        A candidate compiles in its own process: Inductor's others would work on while it is timed.
        """
        if limits is not None:
            return {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
        return {"TORCHINDUCTOR_CACHE_DIR": str(self._root / "inductor")}

    def _cell(self, limits: jail.Limits, uid: int) -> dict[str, Any]:
        return {
            "limits": vars(limits),
            "uid": uid,
            "layers": self.layers,
            "view": vars(self._view),
        }


def _zygote_environment() -> dict[str, str]:
    """What keeps a fork of the zygote usable."""
    return {
        # The zygote finds this package where this process found it, installed or not.
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path),
        # Asking the CUDA runtime whether a GPU is there would bar every fork from using it; NVML does not.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        # Importing NumPy starts a thread for each core otherwise, and forks of threads may deadlock.
        "OPENBLAS_NUM_THREADS": "1",
    }


def child_environment(directory: Path) -> dict[str, str]:
    """The whole environment of a child: where programs and libraries are, and its own directory for the rest."""
    tools = str(Path(sys.prefix) / "bin")
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return environment | {
        "PATH": f"{tools}:{os.environ.get('PATH', '/usr/local/bin:/usr/bin:/bin')}",
        "LANG": "C.UTF-8",
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "TORCH_EXTENSIONS_DIR": str(directory / "extensions"),
        "TORCHINDUCTOR_CACHE_DIR": str(directory / "inductor"),
        "TRITON_CACHE_DIR": str(directory / "triton"),
        # One user id has no name in /etc/passwd; torch and getpass ask for one.
        "USER": "everforge",
        "LOGNAME": "everforge",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _remove(directory: Path) -> "subprocess.Popen[bytes] | None":
    """Remove a worker's directory, however deep and large a candidate made it; what is still at it after a while."""
    with contextlib.suppress(OSError):  # all there is where the candidate's own files were in memory
        (directory / _OUTPUT_FILE).unlink()
        directory.rmdir()
        return None
    removal = subprocess.Popen(
        ["rm", "--recursive", "--force", "--one-file-system", "--", str(directory)], stderr=subprocess.DEVNULL
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        removal.wait(_REMOVE_TIMEOUT_S)
        return None
    return removal


def _first_pid(status_end: int) -> int:
    """The host's pid of the new worker's init, once the worker has begun below it. Raises HarnessFault."""
    deadline_s = time.monotonic() + _SPAWN_TIMEOUT_S
    lines = [read_line(status_end, deadline_s) for _ in range(2)]  # of keeper and init, in any order
    told = [line for line in lines if line is not None]
    pids = [line.removeprefix("pid ") for line in told if line.startswith("pid ")]
    if len(pids) != 1 or "started" not in told:
        said = ", ".join(told) or "no answer from the warm process"
        raise HarnessFault(f"a worker could not be started: {said}")
    return int(pids[0])
