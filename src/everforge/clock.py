"""The clock as an argument, so that decisions about time can be tested without waiting."""

import time
from typing import Protocol


class Clock(Protocol):
    """Source of time: `now_s` since the epoch for records, `monotonic_s` for elapsed time."""

    def now_s(self) -> float: ...
    def monotonic_s(self) -> float: ...


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()
