"""Memory that holds absurd numbers before a candidate gets it, so that an element nobody wrote cannot pass.

A kernel that leaves part of its output alone is right by chance where its memory still holds an earlier, correct
output. Used by `slots.py` for the calls that are compared, never for those that are timed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from everforge.runners.isolation.kernel_calls import POISON_BYTE, poison_allocations

# A kernel's own buffers are of its outputs' sizes more often than not: so many of each size are poisoned.
_BLOCKS = 2


@contextmanager
def poisoned_host_memory() -> Iterator[None]:
    """Have the C library fill what it hands out, where it can."""
    poison_allocations(True)
    try:
        yield
    finally:
        poison_allocations(False)


def poison_device_memory(sizes_bytes: Sequence[int], device: torch.device) -> None:
    """Fill blocks of these sizes and free them: a caching allocator hands them out next."""
    if device.type == "cpu":
        return
    sizes = [max(size, 1) for size in sizes_bytes for _ in range(_BLOCKS)]
    blocks = [torch.full((size,), POISON_BYTE, dtype=torch.uint8, device=device) for size in sizes]
    del blocks
