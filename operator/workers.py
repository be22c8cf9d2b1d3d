"""Threads that take keys from the queue and reconcile them; what fails is logged, counted, and tried again.

The official client blocks, so work is done by threads; the queue sees to it that no key is worked on by two.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from everforge.operator.observed import Key
from everforge.operator.workqueue import WorkQueue

# Two can wait for the API server while a third decides; every decision is a few milliseconds of Python.
WORKERS = 3


class Reports(Protocol):
    """Who hears how reconciliations went."""

    def reconciled(self, key: Key, seconds: float, error: Exception | None) -> None: ...


@dataclass(frozen=True)
class Workers:
    """The operator's hands: `reconcile` returns the seconds until a key wants another look."""

    queue: WorkQueue[Key]
    reconcile: Callable[[Key], float]
    monotonic_s: Callable[[], float]
    reports: Reports

    def start(self) -> list[threading.Thread]:
        """Threads that work until the queue is closed."""
        threads = [threading.Thread(target=self.work, name=f"worker-{n}", daemon=True) for n in range(WORKERS)]
        for thread in threads:
            thread.start()
        return threads

    def work(self) -> None:
        """Take keys until there are no more."""
        while (key := self.queue.take()) is not None:
            self.once(key)

    def once(self, key: Key) -> None:
        """One reconciliation of a taken key."""
        begun_s = self.monotonic_s()
        try:
            after_s = self.reconcile(key)
        except Exception as error:  # noqa: BLE001 - the border of a worker: a defect met by one key must not stop the others
            self._failed(key, begun_s, error)
        else:
            self.queue.done(key, after_s)
            self.reports.reconciled(key, self.monotonic_s() - begun_s, None)

    def _failed(self, key: Key, begun_s: float, error: Exception) -> None:
        self.queue.failed(key)
        self.reports.reconciled(key, self.monotonic_s() - begun_s, error)
