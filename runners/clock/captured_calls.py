"""Calls of a contender in one device graph, inside its process: nothing is launched between them.

What launching costs, and how much that varies, hides kernels of a few microseconds from the parent's clock; replayed
by the hundred they show. Called by `timed_calls.py`; `replays.py` asks for it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from everforge.runners.devices.base import Call, Device
from everforge.runners.tensors.mixing import Mix, mixed_inputs, room_for
from everforge.runners.tensors.trees import Tree


class CapturedCalls:
    """So many calls, the cache flushed ahead of each, on inputs that can be changed between replays."""

    def __init__(
        self, run: Callable[..., Any], sets: Sequence[Tree], mask: torch.Tensor, places: Sequence[int], flush: Call
    ) -> None:
        self._run = run
        self._sets = sets
        self._mask = mask
        self._places = places
        self._flush = flush
        self._replay: Call | None = None
        self.inputs: Tree = room_for(sets[0])
        self.results: list[Tree] = []

    def capture(self, device: Device, calls: int) -> bool:
        """Capture the calls; False if they cannot be."""
        self.load(Mix(0, 0, 0))
        self._replay = device.captured(lambda: self._call(calls))
        return self._replay is not None

    def _call(self, calls: int) -> None:
        self.results.clear()
        for _ in range(calls):
            self._flush()
            self.results.append(self._run(*self.inputs))

    def load(self, mix: Mix) -> None:
        """Change the inputs, where they are."""
        mixed_inputs(self._sets, self._mask, self._places, mix, self.inputs)

    def replay(self, times: int) -> None:
        """All calls so many times over; the results are then those of the last time."""
        for _ in range(times):
            if self._replay is not None:
                self._replay()
