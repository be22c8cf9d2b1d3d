"""How a tensor lies in memory: the order of its dimensions, the gaps between elements, its place in a cache line.

PyTorch's own copies keep the order of a dense tensor alone. Inputs in hostile forms (`input_forms.py`) live from the
rest, so it is described here, crosses processes in `trees.py`, and survives the copies that `slots.py` makes.
"""

import math
from collections.abc import Sequence

import torch

# Every tensor starts on its own cache line, so that vector loads stay aligned; PyTorch aligns its memory alike.
ALIGNMENT = 64
# A view that leaves out more of its memory than this is packed: a column of a large matrix would carry the matrix.
_MOST_MEMORY = 4


def order_of(tensor: torch.Tensor) -> list[int] | None:
    """The dimensions from slowest to fastest for a dense permuted tensor; None for a contiguous one."""
    if tensor.is_contiguous():
        return None
    # Dimensions of size 1 come first: their strides mean nothing and must not tell two equal layouts apart.
    wide = [dim for dim in range(tensor.dim()) if tensor.shape[dim] != 1]
    single = [dim for dim in range(tensor.dim()) if tensor.shape[dim] == 1]
    order = single + sorted(wide, key=tensor.stride, reverse=True)
    return order if tensor.permute(order).is_contiguous() else None


def steps_of(tensor: torch.Tensor) -> list[int] | None:
    """Strides in elements of a tensor with gaps; None for a dense one and for one that is packed on its way.

    Packed are elements that share memory, as those of an expanded tensor do, and views with little in them.
    """
    if tensor.numel() == 0 or tensor.is_contiguous() or order_of(tensor) is not None:
        return None
    # As in `order_of`, the stride of a dimension of size 1 means nothing.
    steps = [step if size > 1 else 1 for size, step in zip(tensor.shape, tensor.stride(), strict=True)]
    small = span(tensor.shape, steps) <= _MOST_MEMORY * tensor.numel()
    return steps if small and not _overlaps(tensor.shape, steps) else None


def _overlaps(shape: Sequence[int], steps: Sequence[int]) -> bool:
    """Whether two elements may share memory; may say so of an interleaving that is rare, never the reverse."""
    reach = 1
    for step, size in sorted((step, size) for size, step in zip(shape, steps, strict=True) if size > 1):
        if step < reach:
            return True
        reach += step * (size - 1)
    return False


def span(shape: Sequence[int], steps: Sequence[int]) -> int:
    """Elements from a tensor's first to its last, gaps included."""
    if math.prod(shape) == 0:
        return 0
    return 1 + sum(step * (size - 1) for size, step in zip(shape, steps, strict=True))


def offset_of(tensor: torch.Tensor) -> int:
    """Elements between the start of a cache line and the tensor's first element."""
    size = tensor.element_size()
    return 0 if tensor.numel() == 0 else tensor.storage_offset() * size % ALIGNMENT // size


def room_like(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """New memory on a device for a tensor of this dtype, shape, strides and alignment; gaps hold zeros."""
    offset, gapped = offset_of(tensor), steps_of(tensor)
    if not offset and gapped is None:
        return torch.empty_like(tensor, device=device)
    # Of a tensor without gaps, the strides PyTorch gives a copy are its own.
    steps = torch.empty_like(tensor, device="meta").stride() if gapped is None else gapped
    memory = torch.zeros(offset + span(tensor.shape, steps), dtype=tensor.dtype, device=device)
    return torch.as_strided(memory, tensor.shape, steps, offset)


def same_layout_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in new memory on the same device, with the same strides and alignment."""
    return room_like(tensor, tensor.device).copy_(tensor.detach())
