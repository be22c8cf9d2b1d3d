"""One turn of timed calls inside a worker: fresh inputs before each, the outputs kept and committed to afterwards.

All that a turn does, it does within the time the parent measures: preparing, calling and keeping. So work that
is moved out of a timed call lands in another part of the same turn, where the parent sees it (`clock_check.py`).
Called by `worker.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from everforge.runners.tensors.bits import changed_leaves, checksum
from everforge.runners.tensors.mixing import Mix, mixed_inputs, room_for
from everforge.runners.tensors.results import result_of, without_gaps
from everforge.runners.tensors.trees import Description, Tree, describe, leaves, map_tree, write

# Inputs lie at so many places in turn: a result remembered by address is one of other inputs.
_ROOMS = 3


class KeptOutputs:
    """Outputs of the calls of one turn.

    On the host they go to memory of the parent, which stops this process before it reads them. A device's memory
    the parent cannot see: there a checksum of every output is part of the turn's answer, and an output that is asked
    for later must have it.
    """

    def __init__(self, block: torch.Tensor | None) -> None:
        self._block = block
        self._results: list[Tree] = []
        self._sums: list[torch.Tensor] = []
        self._count = 0
        # Whether a call of the turn returned something of another form than expected.
        self.odd_form = False

    def start(self) -> None:
        """Forget the turn before."""
        self._results, self._sums, self._count, self.odd_form = [], [], 0, False

    def add(self, result: Tree, expected: Description | None, size_bytes: int, salt: int) -> None:
        """Keep one call's result, if it has the form expected; None expects none."""
        result = map_tree(result, without_gaps if self._block is not None else torch.clone)
        description, result_bytes = describe(result)
        if result_bytes > size_bytes or (expected is not None and description != expected):
            self.odd_form = True
            return
        if self._block is not None:
            place = self._block[self._count * size_bytes : (self._count + 1) * size_bytes]
            write(result, description, place)
        else:
            self._results.append(result)
            self._sums.append(checksum([laid_out(leaf) for leaf in leaves(result)], salt))
        self._count += 1

    def commit(self) -> list[int]:
        """The checksums of the turn; none where the parent holds the outputs."""
        return torch.stack(self._sums).tolist() if self._sums else []

    def write(self, call: int, expected: Description, block: torch.Tensor) -> None:
        """Copy one kept result to the parent's memory."""
        write(self._results[call], expected, block)


def laid_out(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with its dimensions in order of memory, as it is written for the parent."""
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    return tensor.permute(order)


class TimedTurn:
    """The calls of one turn: `prepare` ahead of each, `settle` after the last."""

    def __init__(
        self,
        run: Callable[..., Any],
        sets: Sequence[Tree],
        mask: torch.Tensor,
        message: dict[str, Any],
        flush: Callable[[], object],
        kept: KeptOutputs,
    ) -> None:
        self.mixes = [Mix(*numbers) for numbers in message["mixes"]]
        self._run = run
        self._sets = sets
        self._mask = mask
        self._places = message["places"]
        self._changed = message["changed"]
        self._expected = message["expected"] if message["strict"] else None
        self._size_bytes = message["output_bytes"]
        self._salt = message["salt"]
        self._flush = flush
        self._kept = kept
        self._next = 0
        self._watched = message["watched"]
        # Whether the watched call changed an input that it should have left alone.
        self.changed_inputs = False
        self._rooms = [room_for(sets[0]) for _ in range(_ROOMS)]
        self._inputs: Tree = ()
        self._outputs: Tree = None
        kept.start()

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
            self.changed_inputs = self._has_changed_inputs()
        self._kept.add(result, self._expected, self._size_bytes, self._salt)

    def _has_changed_inputs(self) -> bool:
        """Make the last call's inputs once more and compare: work done in an input's memory is not the task's."""
        mix = self.mixes[self._next - 1]
        again = mixed_inputs(self._sets, self._mask, self._places, mix, room_for(self._sets[0]))
        return not set(changed_leaves(again, self._inputs)) <= set(self._changed)
