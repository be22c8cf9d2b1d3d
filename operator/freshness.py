"""Whether the cluster is heard: what the operator wrote must come back by a watch, what it asked must be answered.

A watch that says nothing is like one that has nothing to say. What was just written is something to say, so a write
that is not seen for minutes tells the two apart. `health.py` asks.
"""

import threading
from collections.abc import Callable

Identity = tuple[str, str, str]


class Freshness:
    """Writes that have not been seen yet. `monotonic_s` is the clock. Thread-safe."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._versions: dict[Identity, str] = {}
        self._unseen: dict[Identity, float] = {}
        self._last_event_s: dict[str, float] = {}
        self._silent_since_s: float | None = None

    def asked(self, code: int) -> None:
        """The API server was asked, and answered with a status; 0 where it did not answer."""
        with self._lock:
            if code:
                self._silent_since_s = None
            elif self._silent_since_s is None:
                self._silent_since_s = self._monotonic_s()

    def silent_s(self) -> float:
        """For how long the API server has not answered what it was asked; 0 where it answered last."""
        with self._lock:
            return 0.0 if self._silent_since_s is None else self._monotonic_s() - self._silent_since_s

    def wrote(self, kind: str, namespace: str, name: str, version: str) -> None:
        """An object was written, and has a resource version that the watch is to bring.

        A write that changed nothing has the version that was seen before, and brings nothing.
        """
        identity = (kind, namespace, name)
        with self._lock:
            if self._versions.get(identity) != version:
                self._unseen.setdefault(identity, self._monotonic_s())

    def saw(self, kind: str, namespace: str, name: str, version: str, gone: bool) -> None:
        """The watch brought an object."""
        identity = (kind, namespace, name)
        with self._lock:
            self._last_event_s[kind] = self._monotonic_s()
            self._unseen.pop(identity, None)
            if gone:
                self._versions.pop(identity, None)
            else:
                self._versions[identity] = version

    def oldest_unseen_s(self) -> float:
        """For how long the oldest write has not been seen; 0 where all were."""
        with self._lock:
            return max((self._monotonic_s() - since_s for since_s in self._unseen.values()), default=0.0)

    def last_event_ages_s(self) -> dict[str, float]:
        """Seconds since the last event of each kind."""
        with self._lock:
            return {kind: self._monotonic_s() - seen_s for kind, seen_s in self._last_event_s.items()}
