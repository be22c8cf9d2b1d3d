"""The parent's handle on one worker: ask with a deadline, learn how it ended, end it. Made by `nursery.py`."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from everforge.runners.isolation import jail, process_tree
from everforge.runners.isolation.channel import ChannelClosed, ChannelTimeout
from everforge.runners.isolation.exchange import AskingEnd, ChannelForged

# The end of a candidate's output is where its error is; a prompt or a terminal wants no more than this.
OUTPUT_TAIL_BYTES = 8192
# A worker whose channel closed is dying, and gives back up to tens of GB first; its init reports at once.
_DYING_S = 1.0
# After a kill, and again after killing one by one what is left: nothing may outlast its limit by 2 s.
_END_TIMEOUT_S = 0.8
# Stopping takes 0.1 to 0.3 ms for one process and 23 ms for 200 that sleep (`benchmarks/jail_cost.py` on two busy
# cores); those that spin each need a turn on a processor before they notice.
_STOP_TIMEOUT_S = 1.5


class WorkerEnded(Exception):
    """The worker's process is gone; `how` says by what."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class WorkerTimeout(Exception):
    """The worker did not answer before the deadline and was ended."""


class WorkerOutOfMemory(WorkerEnded):
    """The worker took more memory than it may and was ended."""


class WorkerTampered(Exception):
    """The worker's process did what no kernel does and was ended; `evidence` says in one sentence what."""

    def __init__(self, evidence: str) -> None:
        super().__init__(evidence)
        self.evidence = evidence


class Worker:
    """One child process that runs a candidate or a baseline."""

    def __init__(self, requests: AskingEnd, status_end: int, output: int, pid: int, layers: tuple[str, ...]) -> None:
        self._requests = requests
        self._status_end = status_end
        self._output = output
        self._pid = pid
        self._process = _open_process(pid)
        self._layers = layers
        self._how: str | None = None
        self.memory_limit_bytes: int | None = None

    def ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = (), *, deadline_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer, by the monotonic clock.

        Raises WorkerTimeout, WorkerOutOfMemory, WorkerTampered, or WorkerEnded.
        """
        try:
            return self._requests.ask(message, descriptors, deadline_s, self._check_memory)
        except ChannelTimeout as error:
            self.end()
            raise WorkerTimeout from error
        except ChannelForged as error:
            self.end()
            raise WorkerTampered(error.evidence) from error
        except ChannelClosed as error:
            raise WorkerEnded(self.how_it_ended()) from error

    def _check_memory(self) -> None:
        if self.memory_limit_bytes is None or process_tree.resident_bytes(self._pid) <= self.memory_limit_bytes:
            return
        self.end()
        raise WorkerOutOfMemory(f"took more than {self.memory_limit_bytes >> 20} MiB of memory")

    def processes(self) -> list[int]:
        """The worker and its descendants, without the jail's init."""
        return process_tree.descendants(self._pid)

    def cpu_seconds(self) -> float:
        """CPU time that the worker and its descendants have used so far, in steps of 10 ms, by the kernel's account."""
        return process_tree.cpu_seconds(self._pid)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep every process of the worker stopped, so that nothing of it runs beside somebody else's turn.

        Raises WorkerTampered if they cannot be stopped, or did not stay so; the worker is ended then.
        """
        try:
            stopped = process_tree.stop(self._pid, time.monotonic() + _STOP_TIMEOUT_S)
        except process_tree.NotStopped as error:
            self.end()
            raise WorkerTampered(f"its processes kept starting others while they were stopped: {error}") from error
        try:
            yield
            awake = process_tree.running(self._pid)
        finally:
            process_tree.resume(stopped)
        if awake:
            self.end()
            raise WorkerTampered(f"{len(awake)} of its processes ran on although they were stopped")

    @contextmanager
    def precedence(self) -> Iterator[None]:
        """Have the scheduler prefer the worker's threads to ordinary processes, where that is allowed.

        On two cores beside one busy process, a kernel of 0.2 ms on two threads took 8 to 16 ms without and
        0.2 ms with it: threads that wait for each other each waited for a turn of 4 ms or more.
        """
        self._schedule(os.SCHED_RR, 1)
        try:
            yield
        finally:
            self._schedule(os.SCHED_OTHER, 0)

    def _schedule(self, policy: int, priority: int) -> None:
        for thread in process_tree.threads(self._pid):
            with contextlib.suppress(OSError):
                os.sched_setscheduler(thread, policy, os.sched_param(priority))

    def how_it_ended(self) -> str:
        """`exit code 0`, `SIGSEGV`, …: as its init reported it. Ends it, should it live on without its channel."""
        if self._how is None:
            self._how = self._read_status()
            self.end()
        return self._how

    def _read_status(self) -> str:
        if self._status_end < 0:
            return "was ended"
        line = read_line(self._status_end, time.monotonic() + _DYING_S)
        if line is None or not line.startswith("exit "):
            return "closed its channel or ended without a trace"
        code = int(line.removeprefix("exit "))
        return signal_name(os.WTERMSIG(code)) if os.WIFSIGNALED(code) else f"exit code {os.WEXITSTATUS(code)}"

    def output_tail(self) -> str:
        """The last bytes the worker printed."""
        with contextlib.suppress(OSError):
            start = max(os.fstat(self._output).st_size - OUTPUT_TAIL_BYTES, 0)
            return os.pread(self._output, OUTPUT_TAIL_BYTES, start).decode(errors="replace")
        return ""

    def end(self) -> None:
        """End the worker and all it started; waits until they are gone, for 2 s at most."""
        self._requests.close()
        if self._status_end < 0:
            return
        jail.end_jail(self._pid, self._layers)
        if not self._is_gone_by(time.monotonic() + _END_TIMEOUT_S):
            jail.kill_jail(self._pid)
            self._is_gone_by(time.monotonic() + _END_TIMEOUT_S)
        os.close(self._status_end)
        self._status_end = -1

    def _is_gone_by(self, deadline_s: float) -> bool:
        """Whether init is gone in time, and with it all that was below it.

        The pipe that it alone still holds ends a little earlier: a pid namespace is ended after its init's files.
        """
        if self._process is not None:
            return _readable(self._process, deadline_s)
        while _readable(self._status_end, deadline_s):
            if not os.read(self._status_end, 4096):
                return True
        return False

    def release(self) -> None:
        """Let go of an ended worker and of what it printed; nobody asks any more."""
        os.close(self._output)
        if self._process is not None:
            os.close(self._process)
        self._output, self._process = -1, None


def read_line(descriptor: int, deadline_s: float) -> str | None:
    """One line of a pipe, or None at its end or past the deadline."""
    data = bytearray()
    while not data.endswith(b"\n"):
        if not _readable(descriptor, deadline_s):
            return None
        byte = os.read(descriptor, 1)
        if not byte:
            return None
        data += byte
    return data.decode(errors="replace").rstrip("\n")


def _open_process(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where Linux has none (before 5.3)."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _readable(descriptor: int, deadline_s: float) -> bool:
    """Whether a descriptor, whatever its number, has data or its end by then."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(deadline_s - time.monotonic(), 0) * 1000))


def signal_name(number: int) -> str:
    """SIGSEGV and the like."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
