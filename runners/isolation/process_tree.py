"""The processes below a worker's init, as the trusted parent sees them: found, stopped, continued, counted.

What a candidate starts cannot leave this tree: its init adopts orphans. All of it is read from /proc, where processes
come and go while one reads, so whatever vanishes meanwhile is passed over. Used by `worker_handle.py`, and by an init
that has to end what is below it (`jail.py`).
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

# A scan of a single process takes less than 0.1 ms, and the signal about as long to be noticed.
_PAUSE_S = 50e-6
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Of proc(5): running, and sleeping so that a signal wakes it. A thread in any other state is stopped or dead, or
# will find the stop signal before it leaves the kernel.
_MAY_RUN = frozenset("RS")


@dataclass(frozen=True)
class _Seen:
    """One process in a scan: whether a thread of it may run, and its children."""

    may_run: bool
    children: tuple[int, ...]


class NotStopped(Exception):
    """There were still processes running when the time to stop them was over."""


def descendants(root: int) -> list[int]:
    """All processes below `root`, without it."""
    return list(_scan(root))


def stop(root: int, deadline_s: float) -> tuple[int, ...]:
    """Stop every process below `root`; returns them. By the monotonic clock; raises NotStopped.

    A stopped process starts no other, so once two scans in a row find the same processes, all of them stopped, there
    is none that was missed.
    """
    before: set[int] = set()
    while True:
        seen = _scan(root)
        running = [pid for pid, process in seen.items() if process.may_run]
        if not running and seen.keys() == before:
            return tuple(seen)
        if time.monotonic() > deadline_s:
            _signal(seen, signal.SIGCONT)
            raise NotStopped(f"{len(running)} of {len(seen)} processes could not be stopped")
        if before.issuperset(running):  # all of them have the signal
            time.sleep(_PAUSE_S)
        _signal(running, signal.SIGSTOP)
        before = set(seen)


def resume(pids: tuple[int, ...]) -> None:
    """Continue processes that `stop` stopped."""
    _signal(pids, signal.SIGCONT)


def running(root: int) -> list[int]:
    """The processes below `root` that are not stopped."""
    return [pid for pid, process in _scan(root).items() if process.may_run]


def kill(root: int) -> None:
    """Kill all below `root`; what starts meanwhile is left for the next time."""
    _signal(descendants(root), signal.SIGKILL)


def cpu_seconds(root: int) -> float:
    """CPU time of all processes below `root`, the ended ones that were waited for included, in steps of 10 ms."""
    ended = _fields(f"/proc/{root}/stat")[13:15]  # of children that `root` has waited for
    ticks = sum(map(int, ended))
    for pid in descendants(root):
        ticks += sum(map(int, _fields(f"/proc/{pid}/stat")[11:15]))
    return ticks / _TICKS_PER_SECOND


def resident_bytes(root: int) -> int:
    """Resident memory of all processes below `root`; what they share counts for each."""
    pages = [_read(f"/proc/{pid}/statm").split()[1:2] for pid in descendants(root)]
    return sum(int(page) for found in pages for page in found) * _PAGE_BYTES


def threads(root: int) -> list[int]:
    """The threads of all processes below `root`."""
    return [thread for pid in descendants(root) for thread in _threads(pid)]


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _scan(root: int) -> dict[int, _Seen]:
    """Every process below `root`, parents before their children."""
    found: dict[int, _Seen] = {}
    pending = list(_look(root).children)
    while pending:
        pid = pending.pop()
        if pid not in found:
            found[pid] = _look(pid)
            pending.extend(found[pid].children)
    return found


def _look(pid: int) -> _Seen:
    """A process by its threads: each has a state and children of its own, and the first may have ended before."""
    may_run, children = False, []
    for thread in _threads(pid):
        state = _fields(f"/proc/{pid}/task/{thread}/stat")[:1]
        may_run = may_run or bool(_MAY_RUN.intersection(state))
        children += [int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split()]
    return _Seen(may_run, tuple(children))


def _threads(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    return []


def _fields(path: str) -> list[str]:
    """What follows the name in a `stat` file, from the state on; nothing if the process is gone.

    A name may hold spaces and parentheses, but nothing after the last parenthesis is the process's choice.
    """
    return _read(path).rpartition(")")[2].split()


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        return file.read().decode(errors="replace")
    return ""
