"""One process at a time in a directory: two campaigns that replay one outbox would race for its files.

The kernel holds the lock for as long as the process lives, so nothing is left to clean after kill -9.
Objects of one process share it, because a suite opens the same state directory once per campaign.
"""

import fcntl
import os
import weakref
from pathlib import Path

from everforge.errors import UsageError

_LOCK_FILE = "lock"
_held: "weakref.WeakValueDictionary[Path, DirectoryLock]" = weakref.WeakValueDictionary()


class DirectoryLock:
    """Held from construction until it is garbage or its process ends; get one by `hold`."""

    def __init__(self, directory: Path) -> None:
        # Not inherited by child processes (PEP 446), so a runner left behind does not keep the directory.
        descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise UsageError(
                f"{directory} is in use by another everforge process (pid {holder}):"
                " wait for it to end, or give this one a state directory of its own"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def hold(directory: Path) -> DirectoryLock:
    """The lock of a directory that exists. Raises UsageError if another process holds it."""
    key = directory.resolve()
    lock = _held.get(key)
    if lock is None:
        lock = _held[key] = DirectoryLock(key)
    return lock
