"""Ctrl-C and SIGTERM as a request to stop: waiting is cut short, writing is not.

`everforge run` installs it; `agents/campaign.py` marks what may be cut short. A stop that arrives while a
trial is being recorded takes effect at the next wait, so that nothing measured is lost half-written.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignal:
    """A request to stop that interrupts only what agreed to be interrupted; `number` is the signal that asked."""

    def __init__(self) -> None:
        self.requested = False
        self.number: int | None = None
        self._interruptible = False

    def request(self) -> None:
        """Ask to stop; raises KeyboardInterrupt on the spot inside an interruptible wait."""
        self.requested = True
        if self._interruptible:
            raise KeyboardInterrupt

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Mark a wait. Raises KeyboardInterrupt at once if a stop was asked for before."""
        if self.requested:
            raise KeyboardInterrupt
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Listen to SIGINT and SIGTERM; a second one has its usual, immediate effect."""
        before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def on_signal(number: int, _frame: FrameType | None) -> None:
            signal.signal(number, before[number])
            self.number = number
            self.request()

        for number in before:
            signal.signal(number, on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
