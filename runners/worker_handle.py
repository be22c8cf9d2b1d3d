"""The parent's handle on one worker: ask with a deadline, learn how it ended, end it. Made by `nursery.py`."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from everforge.runners import jail
from everforge.runners.channel import Channel, ChannelClosed, ChannelTimeout, close_all

# The end of a candidate's output is where its error is; a prompt or a terminal wants no more than this.
OUTPUT_TAIL_BYTES = 8192
# How long a worker whose channel closed may take to be seen dead; its init reports at once.
_END_TIMEOUT_S = 5.0
# Resident memory is looked at this often while waiting: a 10 GB/s allocation is caught within 2 GB.
_WATCH_S = 0.2


class WorkerEnded(Exception):
    """The worker's process is gone; `how` says by what."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class WorkerTimeout(Exception):
    """The worker did not answer before the deadline and was ended."""


class WorkerOutOfMemory(WorkerEnded):
    """The worker took more memory than it may and was ended."""


class Worker:
    """One child process that runs a candidate or a baseline."""

    def __init__(self, channel: Channel, status_end: int, output: Path, pid: int, layers: tuple[str, ...]) -> None:
        self._channel = channel
        self._status_end = status_end
        self._output = output
        self._pid = pid
        self._layers = layers
        self._how: str | None = None
        self.memory_limit_bytes: int | None = None

    def ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = (), *, deadline_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer, by the monotonic clock.

        Raises WorkerTimeout, WorkerOutOfMemory, or WorkerEnded.
        """
        try:
            self._channel.send(message, descriptors)
            answer, strays = self._await(deadline_s)
        except ChannelTimeout as error:
            self.end()
            raise WorkerTimeout from error
        except ChannelClosed as error:
            raise WorkerEnded(self.how_it_ended()) from error
        close_all(strays)
        return answer

    def _await(self, deadline_s: float) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Wait in short steps, watching memory, until an answer begins."""
        while not self._channel.readable(min(_WATCH_S, max(deadline_s - time.monotonic(), 0))):
            if time.monotonic() >= deadline_s:
                raise ChannelTimeout
            self._check_memory()
        return self._channel.receive(max(deadline_s - time.monotonic(), _WATCH_S))

    def _check_memory(self) -> None:
        if self.memory_limit_bytes is None or self._resident_bytes() <= self.memory_limit_bytes:
            return
        self.end()
        raise WorkerOutOfMemory(f"took more than {self.memory_limit_bytes >> 20} MiB of memory")

    def _resident_bytes(self) -> int:
        """Resident memory of the worker and its descendants, shared inputs included."""
        total = 0
        for pid in self._processes():
            with contextlib.suppress(OSError, IndexError, ValueError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return total

    def _processes(self) -> list[int]:
        """The worker and its descendants, without the jail's init."""
        found, pending = [], [self._pid]
        while pending:
            pid = pending.pop()
            with contextlib.suppress(OSError, ValueError):
                pending.extend(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
            found.append(pid)
        return found[1:]

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
        for pid in self._processes():
            with contextlib.suppress(OSError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    os.sched_setscheduler(int(thread), policy, os.sched_param(priority))

    def how_it_ended(self) -> str:
        """`exit code 0`, `SIGSEGV`, …: as its init reported it."""
        if self._how is None:
            self._how = self._read_status()
        return self._how

    def _read_status(self) -> str:
        line = read_line(self._status_end, time.monotonic() + _END_TIMEOUT_S)
        if line is None or not line.startswith("exit "):
            return "ended without a trace"
        code = int(line.removeprefix("exit "))
        return signal_name(os.WTERMSIG(code)) if os.WIFSIGNALED(code) else f"exit code {os.WEXITSTATUS(code)}"

    def output_tail(self) -> str:
        """The last bytes the worker printed."""
        try:
            with self._output.open("rb") as output:
                output.seek(0, os.SEEK_END)
                output.seek(max(output.tell() - OUTPUT_TAIL_BYTES, 0))
                return output.read().decode(errors="replace")
        except OSError:
            return ""

    def end(self) -> None:
        """End the worker and all it started; waits until they are gone."""
        self._channel.close()
        if self._status_end < 0:
            return
        jail.end_jail(self._pid, self._layers)
        # The pipe reaches its end when init and keeper are gone.
        deadline_s = time.monotonic() + _END_TIMEOUT_S
        while select.select([self._status_end], [], [], max(deadline_s - time.monotonic(), 0))[0]:
            if not os.read(self._status_end, 4096):
                break
        os.close(self._status_end)
        self._status_end = -1


def read_line(descriptor: int, deadline_s: float) -> str | None:
    """One line of a pipe, or None at its end or past the deadline."""
    data = bytearray()
    while not data.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(deadline_s - time.monotonic(), 0))[0]:
            return None
        byte = os.read(descriptor, 1)
        if not byte:
            return None
        data += byte
    return data.decode(errors="replace").rstrip("\n")


def signal_name(number: int) -> str:
    """SIGSEGV and the like."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
