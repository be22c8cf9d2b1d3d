"""Outputs of timed calls, taken by surprise and compared with the truth once the race is over.

After each turn, while the candidate stands still, the parent chooses: the call that was told to be the fastest,
and another at random, or one whose output equals another's. Work that was skipped, put off or replayed is a wrong
output here. Called by `timed_trial.py`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch

from everforge.runners.clock.contender import Contender, Turn
from everforge.runners.tensors.bits import checksum
from everforge.runners.tensors.mixing import Mix
from everforge.runners.tensors.trees import Block, leaves, map_block, read
from everforge.runners.truth.cases import VariantReference
from everforge.runners.truth.compare import Finding

# Turns whose outputs are compared, two of each: half of the calls skipped at random escape once in 4096 races.
_TURNS = 6
# Fewer where outputs are large: each is copied from the device.
_MOST_BYTES = 1 << 30
# Enough elements to tell two outputs apart without reading them.
_SAMPLED_BYTES = 4096


@dataclass(frozen=True)
class Taken:
    """One timed call's inputs and what it returned; the sum it committed to where its process holds the outputs."""

    mix: Mix
    octets: torch.Tensor
    checksum: int | None = None
    salt: int = 0


class Broken(Exception):
    """A worker that committed to one output and handed over another."""


class Witness:
    """Takes outputs of one candidate's turns, a sample of fixed size from all of them."""

    def __init__(
        self, reference: VariantReference, contender: Contender, fetch: Callable[[int, Block], None], rng: random.Random
    ) -> None:
        self._reference = reference
        self._contender = contender
        self._fetch = fetch
        self._rng = rng
        self._turns = 0
        self._most = max(1, min(_TURNS, _MOST_BYTES // (2 * max(reference.plain.output_bytes, 1))))
        self._taken: list[list[Taken]] = []

    def see(self, turn: Turn) -> None:
        """Take two outputs of a turn, or none: every turn has the same chance to be in the sample."""
        self._turns += 1
        place = len(self._taken) if self._turns <= self._most else self._rng.randrange(self._turns)
        if place >= self._most:
            return
        taken = self._taken_from(turn)
        self._taken[place : place + 1] = [taken]

    def _taken_from(self, turn: Turn) -> list[Taken]:
        """Where outputs lie in memory shared with the candidate, it stands still until they are copied."""
        if turn.checksums:
            return [self._fetched(turn, call) for call in self._chosen(turn)]
        with self._contender.worker.frozen():
            return [Taken(turn.mixes[call], self._kept(call).clone()) for call in self._chosen(turn)]

    def _chosen(self, turn: Turn) -> set[int]:
        count = len(turn.times_us)
        fastest = min(range(count), key=turn.times_us.__getitem__)
        return {fastest, self._repeated(turn) or self._rng.randrange(count)}

    def _repeated(self, turn: Turn) -> int | None:
        """A call that returned what an earlier one of the turn did; 0 is never one."""
        seen: set[bytes | int] = set()
        for call in range(len(turn.times_us)):
            mark = self._mark(turn, call)
            if mark in seen:
                return call
            seen.add(mark)
        return None

    def _mark(self, turn: Turn, call: int) -> bytes | int:
        if turn.checksums:
            return turn.checksums[call]
        octets = self._kept(call)
        return bytes(octets[:: max(1, octets.numel() // _SAMPLED_BYTES)].numpy())

    def _kept(self, call: int) -> torch.Tensor:
        """The memory of one output, on a device that shares the host's."""
        size = self._contender.course.output_bytes
        block = self._contender.kept
        if block is None:
            raise Broken("no memory for the outputs of timed calls")
        return map_block(block.descriptor, shared=True)[call * size : (call + 1) * size]

    def _fetched(self, turn: Turn, call: int) -> Taken:
        """One output from the device's memory, in memory that the candidate may still change: its sum is looked at
        when it is compared."""
        block = Block(self._contender.course.output_bytes)
        self._fetch(call, block)
        octets = map_block(block.descriptor, shared=True)
        return Taken(turn.mixes[call], octets, turn.checksums[call], turn.salt)

    def findings(self) -> list[tuple[Mix, Finding]]:
        """Compare all that was taken with the truth. Raises Broken for an output that was not the one committed to."""
        return [
            (taken.mix, self._reference.judge(self._tensors(taken), taken.mix))
            for turn in self._taken
            for taken in turn
        ]

    def _tensors(self, taken: Taken) -> list[torch.Tensor]:
        octets = taken.octets
        if taken.checksum is not None:
            # A gibibyte is summed in 2 s on a host's core, and at once where the truth is computed.
            octets = octets.to(self._reference.builder.device.torch_device, copy=True)
            if checksum([octets], taken.salt).item() != taken.checksum:
                raise Broken("the output of a timed call is not the one it had at the end of its turn")
        return list(leaves(read(self._reference.plain.expected, octets)))
