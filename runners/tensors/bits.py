"""Tensors compared and summed up bit by bit, since NaN is legal in an input and rounding must not hide a change.

Used by the worker, which commits to its timed outputs, and by the trusted parent, which holds it to them.
"""

from collections.abc import Sequence

import torch

from everforge.runners.tensors.trees import Tree, leaves

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# Odd multipliers of a 32-bit finaliser: every bit of a word reaches the high half of the product.
_FIRST_MULTIPLIER = 0x7FEB352D
_SECOND_MULTIPLIER = 0x2C1B3C6D
# Rows summed at once: each byte needs as many again meanwhile.
_SUMMED_BYTES = 64 << 20


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors have one shape and the same bits, NaN included."""
    return left.shape == right.shape and left.dtype == right.dtype and torch.equal(as_words(left), as_words(right))


def as_words(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as signed integers of its elements' width, on the same memory; of complex128, as pairs of numbers."""
    plain = torch.view_as_real(tensor) if tensor.element_size() not in _INTEGERS else tensor
    return plain.view(_INTEGERS[plain.element_size()])


def changed_leaves(before: Tree, after: Tree) -> tuple[int, ...]:
    """Which tensors of a tree, counted in order, have other bits than before."""
    pairs = zip(leaves(before), leaves(after), strict=True)
    return tuple(index for index, (left, right) in enumerate(pairs) if not same_bits(left, right))


def input_sums(inputs: Tree, salt: int) -> list[int]:
    """A checksum of each tensor, in order, of its elements in row-major order."""
    return [int(checksum([leaf], salt).item()) for leaf in leaves(inputs)]


def checksum(tensors: Sequence[torch.Tensor], salt: int) -> torch.Tensor:
    """A salted sum over the mixed bits of all tensors, as one int64 on their device; nothing waits for it.

    The mixing is that of a hash's finaliser, so that a sum fixed beforehand cannot be met by nudging low bits
    of single elements: whoever names it must have had the output.
    """
    total = torch.zeros((), dtype=torch.int64, device=tensors[0].device if tensors else None)
    for tensor in tensors:
        total = total * 31 + _mixed(_padded(tensor), salt).sum(dtype=torch.int64)
    return total


def row_sums(rows: torch.Tensor, salt: int) -> list[int]:
    """`checksum` of each row of a matrix of bytes, a multiple of four in each; many rows at once."""
    at_once = max(1, _SUMMED_BYTES // max(rows.shape[1], 1))
    parts = [_mixed(part.view(torch.int32), salt).sum(dim=1, dtype=torch.int64) for part in torch.split(rows, at_once)]
    return torch.cat(parts).tolist()


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's bytes in order of memory as 32-bit words, zeros at the end."""
    flat = tensor.detach().contiguous().reshape(-1)
    if tensor.numel() == 0:
        return torch.zeros(0, dtype=torch.int32, device=tensor.device)
    octets = flat.view(torch.uint8)
    spare = -octets.numel() % 4
    return (torch.nn.functional.pad(octets, (0, spare)) if spare else octets).view(torch.int32)


def _mixed(words: torch.Tensor, salt: int) -> torch.Tensor:
    mixed = words ^ _signed(salt)
    mixed *= _FIRST_MULTIPLIER
    mixed ^= mixed >> 15
    mixed *= _SECOND_MULTIPLIER
    return mixed


def _signed(salt: int) -> int:
    """The low 32 bits of a salt as a signed number."""
    low = salt & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low
