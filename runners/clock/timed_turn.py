"""One turn of timed calls inside a worker: fresh inputs before each, the outputs kept and committed to afterwards.

All that a turn does, it does within the time the parent measures: preparing, calling and keeping. So work that
is moved out of a timed call lands in another part of the same turn, where the parent sees it (`clock_check.py`).
Called by `timed_calls.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from everforge.runners.tensors.bits import changed_leaves, row_sums
from everforge.runners.tensors.mixing import Mix, mixed_inputs, on_device, room_for
from everforge.runners.tensors.results import result_of, without_gaps
from everforge.runners.tensors.trees import Description, Tree, describe, map_tree, write

# Inputs lie at so many places in turn: a result remembered by address is one of other inputs.
_ROOMS = 3


class KeptOutputs:
    """Outputs of the calls of one turn, one after another in a block of memory.

    On the host the block is the parent's, which stops this process before it reads it. A device's memory the parent
    cannot see: there a checksum of every output is part of the turn's answer, and an output that is asked for later
    must have it. Keeping one costs a copy and nothing else, since a device must not wait for the host meanwhile.
    """

    def __init__(self, block: torch.Tensor, *, commits: bool) -> None:
        self._block = block
        self._commits = commits
        self._expected: Description | None = None
        self._size_bytes = 0
        self._count = 0
        # Whether a call of the turn returned something of another form than expected.
        self.odd_form = False

    def expect(self, expected: Description | None, size_bytes: int) -> None:
        """The form of the outputs to come, None if any will do, and how many bytes each takes at most."""
        self._expected, self._size_bytes = expected, size_bytes

    def start(self) -> None:
        """Forget the outputs so far."""
        self._count, self.odd_form = 0, False

    def add(self, result: Tree) -> None:
        """Keep one call's result, if it has the form expected."""
        result = map_tree(result, without_gaps)
        description, result_bytes = describe(result)
        if result_bytes > self._size_bytes or self._expected not in (None, description):
            self.odd_form = True
            return
        write(result, description, self._place(self._count))
        self._count += 1

    def _place(self, call: int) -> torch.Tensor:
        return self._block[call * self._size_bytes : (call + 1) * self._size_bytes]

    def commit(self, salt: int) -> list[int]:
        """The checksums of the turn; none where the parent holds the outputs."""
        if not self._commits:
            return []
        return row_sums(self._block[: self._count * self._size_bytes].view(self._count, self._size_bytes), salt)

    def write(self, call: int, block: torch.Tensor) -> None:
        """Copy one kept result to the parent's memory."""
        block.copy_(self._place(call))


class TimedTurn:
    """The calls of one turn: `start`, `prepare` ahead of each, `settle` after the last."""

    def __init__(
        self,
        run: Callable[..., Any],
        sets: Sequence[Tree],
        mask: torch.Tensor,
        course: dict[str, Any],
        kept: KeptOutputs,
    ) -> None:
        self.mixes: list[Mix] = []
        self._run = run
        self._sets = sets
        self._mask = on_device(mask)
        self._places = course["places"]
        self._changed = course["changed"]
        self._flush: Callable[[], object] = bool
        self._kept = kept
        self._next = 0
        self._watched = 0
        # The watched call's inputs as it left them.
        self._left: Tree = None
        self._rooms = [room_for(sets[0]) for _ in range(_ROOMS)]
        self._inputs: Tree = ()
        self._outputs: Tree = None
        kept.expect(course["expected"], course["output_bytes"])
        kept.start()

    def start(self, mixes: Sequence[Sequence[int]], watched: int, flush: Callable[[], object]) -> None:
        """Say what the calls are made on; from here on the parent's clock runs."""
        self.mixes = [Mix(*numbers) for numbers in mixes]
        self._watched = watched
        self._flush = flush

    def prepare(self) -> None:
        """Keep the last call's outputs, make the next one's inputs, evict the cache."""
        self.settle()
        room = self._rooms[self._next % _ROOMS]
        self._inputs = mixed_inputs(self._sets, self._mask, self._places, self.mixes[self._next], room)
        self._next += 1
        self._flush()

    def call(self) -> None:
        """One timed call."""
        self._outputs = self._run(*self._inputs)

    def settle(self) -> None:
        """Keep what the last call returned, if there was one."""
        if self._outputs is None:
            return
        result = result_of(self._outputs, self._inputs, self._changed)
        self._outputs = None
        if self._next - 1 == self._watched:
            self._left = map_tree(self._inputs, torch.clone)
        self._kept.add(result)

    def has_changed_inputs(self) -> bool:
        """Whether the watched call changed an input that it should have left alone: work done in an input's memory
        is not the task's. Makes these inputs once more, when all calls are over: it waits for the device."""
        again = mixed_inputs(self._sets, self._mask, self._places, self.mixes[self._watched], room_for(self._sets[0]))
        return not set(changed_leaves(again, self._left)) <= set(self._changed)
