"""Inputs for timed calls that nobody has seen before: element by element from one of two fresh draws.

A kernel that remembers outputs, by pointer, by content or by the number of calls, has nothing to remember here.
Each element comes from a draw of the task's own get_inputs() at the same place, so that signs, ranges and
constants stay what the task meant, while no operation that joins elements commutes with the choice. The worker
mixes on its device, the parent repeats it to learn the truth. Made by `cases.py`; used by `timed_turn.py`.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from everforge.runners.tensors.bits import as_words
from everforge.runners.tensors.layouts import room_like
from everforge.runners.tensors.trees import Tree, leaves, map_tree

# A mask is longer than the largest tensor by this; where reading starts is drawn for each call.
OFFSETS = 1 << 16


@dataclass(frozen=True)
class Mix:
    """How the inputs of one timed call are made: two sets and where the mask is read from."""

    first: int
    second: int
    offset: int


def draw_mask(inputs: Tree, seed: int) -> torch.Tensor:
    """All bits or none at random for each element of the largest tensor of some inputs, as int32."""
    longest = max((leaf.numel() for leaf in leaves(inputs)), default=0)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 1, (longest + OFFSETS,), generator=generator, dtype=torch.int32)


def on_device(mask: torch.Tensor) -> torch.Tensor:
    """The mask as its device likes it: one of booleans chooses in a single kernel there."""
    return mask if mask.device.type == "cpu" else mask.bool()


def draw_mixes(count: int, sets: int, mixed: bool, rng: random.Random) -> list[Mix]:
    """The inputs of so many calls; of unmixed ones a different set each time."""
    mixes = []
    for _ in range(count):
        first = rng.randrange(sets)
        second = (first + rng.randrange(1, sets)) % sets if mixed and sets > 1 else first
        mixes.append(Mix(first, second, rng.randrange(OFFSETS)))
    return mixes


def mixed_inputs(sets: Sequence[Tree], mask: torch.Tensor, places: Sequence[int], mix: Mix, room: Tree) -> Tree:
    """Fill `room`, which has the inputs' form, with one call's inputs; those not at `places` are the first set's."""
    pairs = zip(leaves(sets[mix.first]), leaves(sets[mix.second]), leaves(room), strict=True)
    for index, (first, second, target) in enumerate(pairs):
        if index in places:
            _choose(first, second, mask[mix.offset : mix.offset + first.numel()].view(first.shape), target)
        else:
            target.copy_(first)
    return room


def _choose(first: torch.Tensor, second: torch.Tensor, mask: torch.Tensor, target: torch.Tensor) -> None:
    """The second's elements where the mask has all bits, by bits: torch.where took 15 times as long on a CPU. By a
    mask of booleans on a device, where each kernel must be launched."""
    bits = as_words(target)
    mask = mask.unsqueeze(-1) if bits.dim() > mask.dim() else mask
    if mask.dtype is torch.bool:
        torch.where(mask, as_words(second), as_words(first), out=bits)
        return
    torch.bitwise_xor(as_words(first), as_words(second), out=bits)
    bits.bitwise_and_(mask.to(bits.dtype)).bitwise_xor_(as_words(first))


def room_for(inputs: Tree) -> Tree:
    """Memory of its own for inputs of this form."""
    return map_tree(inputs, lambda tensor: room_like(tensor, tensor.device))


def places_to_mix(first: Tree, second: Tree) -> tuple[int, ...]:
    """Tensors that two draws fill differently and that have one form; constants stay as they are.

    Numbers that count or point, such as row offsets, may belong together: integers are mixed only where no
    floating-point input differs.
    """
    pairs = list(enumerate(zip(leaves(first), leaves(second), strict=True)))
    differing = [(i, a) for i, (a, b) in pairs if a.shape == b.shape and a.dtype == b.dtype and not torch.equal(a, b)]
    floating = tuple(index for index, tensor in differing if tensor.is_floating_point())
    return floating or tuple(index for index, _ in differing)
