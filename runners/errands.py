"""Work that outlives its connection: done one after the other, followed by whoever asked for it.

A connection may be cut while a trial runs. The trial goes on, and the same request again, by the same key, follows it
from where it is. `workshop.py` takes errands in, `server.py` passes their lines on.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from everforge.clock import Clock
from everforge.model.base import Record
from everforge.model.session import Failure

# A trial takes seconds, and its client asks again by itself.
_BUSY_RETRY_S = 2.0


class Abandoned(Exception):
    """Raised in work that nobody wants any more, when it next has news."""


class Busy(Exception):
    """The request cannot be taken now; `retry_s` says when it may be, None that it never will."""

    def __init__(self, message: str, retry_s: float | None) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class Errand:
    """One request at work: the lines said so far, the last of which is its outcome."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self._lines: list[Record] = []
        self._changed = threading.Condition()
        self._ended = False
        self._abandoned = False

    @classmethod
    def answered(cls, line: Record) -> "Errand":
        """An errand with nothing to do: its outcome was known."""
        errand = cls(None)
        errand.end(line)
        return errand

    @property
    def is_wanted(self) -> bool:
        """Whether it was not abandoned."""
        return not self._abandoned

    def say(self, line: Record) -> None:
        """Add a line of news. Raises Abandoned if nobody wants the outcome any more."""
        if self._abandoned:
            raise Abandoned
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()

    def end(self, line: Record) -> None:
        """Add the last line."""
        with self._changed:
            self._lines.append(line)
            self._ended = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Let the work end when it next has news."""
        self._abandoned = True

    def follow(self, beat_s: float) -> Iterator[Record | None]:
        """The latest line and all to come; None after each `beat_s` without one."""
        said = max(0, len(self._lines) - 1)
        ended = False
        while not ended:
            fresh, ended = self._after(said, beat_s)
            if not fresh:
                yield None
            yield from fresh
            said += len(fresh)

    def _after(self, said: int, timeout_s: float) -> tuple[list[Record], bool]:
        """The lines after so many, once there are any or the time is over; and whether they are the last."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._lines) > said, timeout_s)
            return self._lines[said:], self._ended


Work = Callable[[Errand], Record]


class Bench:
    """The one thread that uses the device. With `queues`, requests wait for each other; else they are refused.

    One thread for all: torch.export in a second thread of a process was seen to crash it (torch 2.11 with CUDA and
    no GPU).
    """

    def __init__(self, clock: Clock, queues: bool) -> None:
        self._clock = clock
        self._queues = queues
        self._errands: list[Errand] = []
        self._changed = threading.Condition()
        self._last_used_s = clock.monotonic_s()
        self._closing = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bench")

    def take(self, key: str | None, work: Work, may_wait: bool = False) -> Errand:
        """The errand under way for this key, or a new one. Raises Busy."""
        with self._changed:
            same = [errand for errand in self._errands if errand.key == key and errand.is_wanted]
            if key is not None and same:
                return same[0]
            if self._closing:
                raise Busy("the runner is ending", None)
            if self._errands and not (self._queues or may_wait):
                raise Busy("the runner is at work on another request", _BUSY_RETRY_S)
            errand = Errand(key)
            self._errands.append(errand)
        self._thread.submit(self._do, errand, work)
        return errand

    def idle_s(self) -> float:
        """Seconds since the last errand ended; 0 while there is one."""
        with self._changed:
            return 0.0 if self._errands else self._clock.monotonic_s() - self._last_used_s

    def abandon(self, is_meant: Callable[[str], bool]) -> None:
        """Let the errands whose key is meant end when they next have news."""
        with self._changed:
            for errand in self._errands:
                if errand.key is not None and is_meant(errand.key):
                    errand.abandon()

    def drain(self, grace_s: float) -> bool:
        """Take nothing new, and wait for what is under way; whether it ended in time."""
        with self._changed:
            self._closing = True
            return self._changed.wait_for(lambda: not self._errands, grace_s)

    def close(self) -> None:
        """Wait for the work under way, and begin nothing that waits."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _do(self, errand: Errand, work: Work) -> None:
        line: Record = Failure(kind="harness", message="the request was given up before it was done")
        try:
            if errand.is_wanted:
                line = work(errand)
        except Abandoned:
            return
        finally:
            errand.end(line)
            with self._changed:
                self._errands.remove(errand)
                self._last_used_s = self._clock.monotonic_s()
                self._changed.notify_all()
