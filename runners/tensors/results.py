"""What a call returned, as it crosses to the parent: plain tensors of the right form, or what is wrong with them.

Runs inside workers (`slots.py`, `timed_turn.py`).
"""

from collections.abc import Sequence
from typing import Any

import torch

from everforge.runners.tensors.trees import Description, Tree, describe, leaves, map_block, map_tree, write


class Settled:
    """Copies of a call's result, and how the originals were spread over memory."""

    def __init__(self, tree: Tree, spreads: list[str]) -> None:
        self.tree = tree
        self.spreads = spreads


def result_of(outputs: Tree, inputs: Tree, changed: Sequence[int]) -> Tree:
    """The result of a call: `(outputs, [changed input, …])`. Raises TypeError for tensors that are not plain ones."""
    after = list(leaves(inputs))
    result = (outputs, [after[index] for index in changed])
    strangers = [type(leaf).__name__ for leaf in leaves(result) if type(leaf) is not torch.Tensor]
    if strangers:
        raise TypeError(f"forward must return plain tensors, got {strangers[0]}")
    return result


def settled(outputs: Tree, inputs: Tree, changed: Sequence[int]) -> Settled:
    """The result of a call, with copies of the tensors as they are now.

    Copied in the order of the device's current stream and without waiting for anything else: work that was left
    to other streams or threads is missing from it.
    """
    result = result_of(outputs, inputs, changed)
    return Settled(map_tree(result, torch.clone), [spread_of(leaf) for leaf in leaves(outputs)])


def without_gaps(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor if it lies dense at the start of its memory, else a dense copy: the form its description has."""
    dense = tensor.storage_offset() == 0 and spread_of(tensor) == "dense"
    return tensor if dense else tensor.clone()


def spread_of(tensor: torch.Tensor) -> str:
    """`dense`, `expanded` (elements share memory) or `gapped`."""
    wide = [(size, stride) for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]
    if any(stride == 0 for _, stride in wide):
        return "expanded"
    reach = 1 + sum((size - 1) * stride for size, stride in wide)
    return "dense" if reach == tensor.numel() or tensor.numel() == 0 else "gapped"


def hand_over(
    result: Settled, expected: Description | None, any_layout: bool, descriptors: Sequence[int]
) -> dict[str, Any]:
    """Describe a result and, if it has the form the parent expects, write it to the parent's memory."""
    tree = map_tree(result.tree, torch.Tensor.contiguous) if any_layout else result.tree
    description, _ = describe(tree)
    if descriptors and description == expected:
        write(tree, description, map_block(descriptors[0], shared=True))
    return {"description": description, "spreads": ["dense"] * len(result.spreads) if any_layout else result.spreads}
