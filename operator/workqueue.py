"""Keys that wait to be looked at: each at most once, none by two workers at once, failures again after a pause.

Watches add keys, `workers.py` takes them. What is asked for while a key is being worked on is done once more after it.
"""

import heapq
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0


@dataclass(frozen=True)
class QueueState:
    """What metrics and health say of the queue; an age is of the key that is due longest."""

    waiting: int
    oldest_age_s: float
    longest_work_s: float
    failing: int


class WorkQueue(Generic[K]):
    """A de-duplicating queue with delays. `monotonic_s` is its clock, `jitter` a number from 0 to 1."""

    def __init__(self, monotonic_s: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        self._monotonic_s, self._jitter = monotonic_s, jitter
        self._changed = threading.Condition()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._working: dict[K, float] = {}
        self._again: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._closed = False

    def add(self, key: K, after_s: float = 0.0) -> None:
        """Have a key looked at, now or later; of two times the earlier one counts."""
        with self._changed:
            self._schedule(key, self._monotonic_s() + after_s)

    def take(self) -> K | None:
        """The next key that is due, waiting for it if need be; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                if (key := self._pop()) is not None:
                    return key
                self._changed.wait(self._next_wait_s())
            return None

    def take_due(self) -> K | None:
        """The next key that is due now, None if there is none."""
        with self._changed:
            return None if self._closed else self._pop()

    def done(self, key: K, again_after_s: float | None = None) -> None:
        """A key was worked on and did not fail; `again_after_s` asks for another look."""
        with self._changed:
            self._failures.pop(key, None)
            self._released(key, again_after_s)

    def failed(self, key: K) -> float:
        """A key's work failed: it comes back after 1, 2, 4, … s, at most five minutes; the pause, in seconds."""
        with self._changed:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (min(count, 30) - 1))
            # Half of it is drawn, so that what failed together does not come back together.
            pause_s *= 0.5 + 0.5 * self._jitter()
            self._again.pop(key, None)  # what failed waits, whatever else happened to it meanwhile
            self._released(key, pause_s)
            return pause_s

    def forget(self, key: K) -> None:
        """Drop what is known of a key whose object is gone."""
        with self._changed:
            self._failures.pop(key, None)
            self._due.pop(key, None)

    def close(self) -> None:
        """End every `take`, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def state(self) -> QueueState:
        """What there is to say of the queue now."""
        with self._changed:
            now_s = self._monotonic_s()
            ages = [now_s - due_s for due_s in self._due.values() if due_s <= now_s]
            work = [now_s - since_s for since_s in self._working.values()]
            return QueueState(len(ages), max(ages, default=0.0), max(work, default=0.0), len(self._failures))

    def _schedule(self, key: K, due_s: float) -> None:
        if key in self._working:
            self._again[key] = min(due_s, self._again.get(key, due_s))
            return
        if key in self._due and self._due[key] <= due_s:
            return
        self._due[key] = due_s
        self._order += 1
        heapq.heappush(self._heap, (due_s, self._order, key))
        self._changed.notify()

    def _released(self, key: K, again_after_s: float | None) -> None:
        self._working.pop(key, None)
        asked_s = self._again.pop(key, None)
        if again_after_s is not None:
            later_s = self._monotonic_s() + again_after_s
            asked_s = later_s if asked_s is None else min(asked_s, later_s)
        if asked_s is not None:
            self._schedule(key, asked_s)

    def _pop(self) -> K | None:
        while self._heap and self._heap[0][0] <= self._monotonic_s():
            due_s, _order, key = heapq.heappop(self._heap)
            # An entry that was overtaken by an earlier one, or forgotten, is passed over.
            if self._due.get(key) == due_s:
                del self._due[key]
                self._working[key] = self._monotonic_s()
                return key
        return None

    def _next_wait_s(self) -> float | None:
        return max(0.0, self._heap[0][0] - self._monotonic_s()) if self._heap else None
