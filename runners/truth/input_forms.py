"""The inputs of a task in forms that PyTorch takes without a word, and that careless kernels compute wrongly on.

KernelBench's get_inputs() gives contiguous, aligned tensors of one scale; models in service pass views and other
magnitudes. `reference.py` asks for the forms a task's contract allows and leaves out those the reference refuses.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from everforge.model.task import InputContract
from everforge.runners.tensors.layouts import same_layout_copy
from everforge.runners.tensors.trees import leaves, map_tree

Inputs = tuple[Any, ...]

TRANSPOSED = "transposed in memory"
OFFSET = "at an odd offset"
EMPTY = "empty batch"

# Vector loads of 16 bytes are the widest that GPUs and Triton's descriptors make.
_VECTOR_BYTES = 16


def hostile_forms(inputs: Inputs, contract: InputContract) -> Iterator[tuple[str, Inputs]]:
    """A label and the inputs in that form, for every form the contract allows and these inputs can take.

    Tensors are new memory, laid out as the form says; values are the same, or scaled, or left out with the batch.
    The label ends a sentence such as "wrong on inputs transposed in memory".
    """
    if contract.strided:
        yield from _changed(TRANSPOSED, inputs, transposed_in_memory)
        yield from _changed(OFFSET, inputs, at_an_odd_offset)
    for scale in contract.scales:
        if scale != 1.0:
            yield from _changed(f"times {scale:g}", inputs, _scaled_by(scale))
    if contract.empty_batch:
        yield from _changed(EMPTY, inputs, _emptied(inputs))


def _changed(
    label: str, inputs: Inputs, change: Callable[[torch.Tensor], torch.Tensor | None]
) -> Iterator[tuple[str, Inputs]]:
    """The form, unless it leaves every tensor as it is."""
    changes = [change(leaf) for leaf in leaves(inputs)]
    if any(changed is not None for changed in changes):
        following = iter(changes)
        yield label, map_tree(inputs, lambda tensor: _or_copy(next(following), tensor))


def _or_copy(changed: torch.Tensor | None, tensor: torch.Tensor) -> torch.Tensor:
    return same_layout_copy(tensor) if changed is None else changed


def transposed_in_memory(tensor: torch.Tensor) -> torch.Tensor | None:
    """The last two dimensions stored swapped; of a vector, every second element of a larger buffer.

    None for a single element, which has one layout alone.
    """
    if tensor.numel() < 2:
        return None
    if not tensor.is_contiguous():
        return tensor.clone(memory_format=torch.contiguous_format)
    if tensor.dim() >= 2 and min(tensor.shape[-2:]) > 1:
        return tensor.mT.clone(memory_format=torch.contiguous_format).mT
    return _every_second(tensor)


def _every_second(tensor: torch.Tensor) -> torch.Tensor:
    """Elements along the last dimension that has several, each with a gap behind it."""
    dimension = max(dim for dim, size in enumerate(tensor.shape) if size > 1)
    wide = [2 * size if dim == dimension else size for dim, size in enumerate(tensor.shape)]
    memory = torch.zeros(wide, dtype=tensor.dtype, device=tensor.device)
    steps = [slice(None, None, 2) if dim == dimension else slice(None) for dim in range(tensor.dim())]
    return memory[tuple(steps)].copy_(tensor)


def at_an_odd_offset(tensor: torch.Tensor) -> torch.Tensor | None:
    """The same strides, the first element right behind another, so that no vector load is aligned.

    None for an empty tensor, for elements of 16 bytes, which are always aligned, and for one with gaps or overlaps.
    """
    if tensor.numel() == 0 or tensor.element_size() >= _VECTOR_BYTES:
        return None
    dense = torch.empty_like(tensor, device="meta").stride()
    if not tensor.is_contiguous() and dense != tensor.stride():
        return None
    memory = torch.zeros(1 + tensor.numel(), dtype=tensor.dtype, device=tensor.device)
    return torch.as_strided(memory, tensor.shape, dense, 1).copy_(tensor)


def _scaled_by(scale: float) -> Callable[[torch.Tensor], torch.Tensor | None]:
    """Floating-point tensors times a number; others hold indices, masks or counts, and stay.

    So do those of 8 bits: they come with scales of their own, and PyTorch has no arithmetic on them.
    """

    def change(tensor: torch.Tensor) -> torch.Tensor | None:
        scales = tensor.is_floating_point() and tensor.element_size() > 1
        return same_layout_copy(tensor).mul_(scale) if scales else None

    return change


def _emptied(inputs: Inputs) -> Callable[[torch.Tensor], torch.Tensor | None]:
    """No batch: of the first tensor, and of all whose first dimension is as long."""
    batch = next((leaf.shape[0] for leaf in leaves(inputs) if leaf.dim()), None)

    def change(tensor: torch.Tensor) -> torch.Tensor | None:
        shares = batch is not None and tensor.dim() > 0 and tensor.shape[0] == batch and batch > 0
        return tensor.new_empty((0, *tensor.shape[1:])) if shares else None

    return change
