"""Do the results of a candidate's own kernels reach its output, or were the kernels launched for show?

`contributes` calls the candidate with everything its own kernels write overwritten by absurd numbers, and compares
the output with the plain one. Used by `coverage.py` inside the candidate's process. What the candidate keeps from
call to call (buffers, running statistics) is overwritten too: the module must be built anew afterwards.

The numbers are finite: NaN would show through a result that is multiplied by zero and added. A candidate that
recognises them could answer as if its kernels mattered; that takes work in the call, which is timed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from everforge.runners.integrity.launches import Launch, addresses_in, intercepted
from everforge.runners.integrity.own_kernels import alive
from everforge.runners.tensors.poison import poisoned_host_memory
from everforge.runners.tensors.trees import leaves

Call = Callable[[], object]

# How far an output must move, relative to its largest value, when its kernels' results move by 3 to 13 times
# theirs: a correct kernel's share in the output is above the tolerance, which is never below 1e-5.
_VISIBLE = 1e-4
# A candidate that computes something slightly different each time must be moved clearly further than that.
_ABOVE_NOISE = 10.0
_FACTORS = (3.0, -5.0, 7.0, -11.0, 13.0)
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_NESTING = 4


def contributes(call: Call, other: Call | None = None) -> bool | None:
    """Whether the output of `call` depends on what own kernels write during it; None if that cannot be seen.

    `call` clones its inputs, runs the module and returns its outputs, with the inputs that it is to change.
    `other` does so on other inputs: it runs before the call that is overwritten, so that reused memory does not hold
    the right results already. It is None where own kernels are launched by a replayed graph or given addresses of
    unknown memory, and where memory does not suffice. Raises what the plain call raises.
    """
    plain, again = _outputs(call), _outputs(call)
    if not plain:
        return None
    if other is not None:
        other()
    overwriting = Overwriting(trusts_unchanged=other is not None)
    try:
        with poisoned_host_memory(), intercepted(overwriting) as watch:
            moved = _outputs(call)
    except torch.OutOfMemoryError:
        return None
    except Exception:  # noqa: BLE001 - whatever absurd numbers lead to in the candidate's code, they got there
        return True if overwriting.wrote else None
    if _moved(plain, again, moved):
        return True
    if watch.graph_replays or overwriting.unseen:
        return None
    return False if overwriting.launches else None


def _outputs(call: Call) -> list[torch.Tensor]:
    """A call's outputs, out of reach of the next one, under the same random numbers as the other calls."""
    devices = [torch.cuda.current_device()] if _uses_cuda() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        return [leaf.detach().clone() for leaf in leaves(call())]


@dataclass(frozen=True)
class Memory:
    """One storage an argument of a launch lies in, as a flat tensor of the argument's type."""

    flat: torch.Tensor

    @property
    def bits(self) -> torch.Tensor:
        """The same memory as integers, so that NaN compares equal to itself."""
        plain = torch.view_as_real(self.flat) if self.flat.is_complex() else self.flat
        return plain.view(_INTEGERS[plain.element_size()])

    def changed_since(self, before: torch.Tensor) -> torch.Tensor:
        """Which elements have other bits than before."""
        changed = self.bits != before
        return changed.any(dim=-1) if self.flat.is_complex() else changed


class Overwriting:
    """Makes launches, and overwrites what they have written."""

    def __init__(self, *, trusts_unchanged: bool) -> None:
        self._trusts_unchanged = trusts_unchanged
        self.launches = 0
        self.wrote = False
        self.unseen = False

    def __call__(self, launch: Launch) -> Any:
        """Make one launch and overwrite its results; what a graph captures is left alone."""
        self.launches += 1
        if _capturing():
            self.unseen = True
            return launch.run()
        memories, complete = _memories(launch.arguments)
        before = [memory.bits.clone() for memory in memories]
        result = launch.run()
        written = [memory.changed_since(bits) for memory, bits in zip(memories, before, strict=True)]
        returned = _new_tensors(result, memories)
        if not returned and not any(bool(part.any()) for part in written):
            written = self._written_by_relaunch(launch, memories, complete)
        for memory, part in zip(memories, written, strict=True):
            self._overwrite(memory, part)
        for tensor in returned:
            memory = _memory_of(tensor)
            self._overwrite(memory, _elements_of(tensor, memory))
        return 3.0 * result + 1.0 if type(result) is float else result

    def _written_by_relaunch(self, launch: Launch, memories: list[Memory], complete: bool) -> list[torch.Tensor]:
        """Tell a kernel that wrote what was there already from one that wrote nothing.

        It is launched once more on other floats of both signs, other for each argument: an odd function of mirrored
        numbers would write mirrored results again. Integers stay: they may be indices, sizes or locks.
        """
        kept = [memory.flat.clone() for memory in memories]
        for place, memory in enumerate(memories):
            if _is_float(memory.flat):
                memory.flat.copy_(_mirrored(memory.flat) * 0.5 ** (place % 8))
        before = [memory.bits.clone() for memory in memories]
        try:
            launch.run()
            written = [memory.changed_since(bits) for memory, bits in zip(memories, before, strict=True)]
        except Exception:  # noqa: BLE001 - a kernel may refuse numbers it never gets, and was not seen to write then
            complete, written = False, [torch.zeros_like(memory.flat, dtype=torch.bool) for memory in memories]
        finally:
            for memory, values in zip(memories, kept, strict=True):
                memory.flat.copy_(values)
        integers = any(not _is_float(memory.flat) for memory in memories)
        if not any(bool(part.any()) for part in written):
            self.unseen |= not complete or (integers and not self._trusts_unchanged)
        return written

    def _overwrite(self, memory: Memory, written: torch.Tensor) -> None:
        if bool(written.any()):
            self.wrote = True
            with torch.no_grad():
                absurd = _absurd(memory.flat[written])
                memory.flat[written] = absurd


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _capturing() -> bool:
    return _uses_cuda() and torch.cuda.is_current_stream_capturing()


def _tensors(value: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """Tensors in arguments or results: bare, in containers, behind Triton's wrappers and descriptors."""
    if isinstance(value, torch.Tensor):
        if _has_memory(value):
            yield value
    elif depth < _NESTING and isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part, depth + 1)
    elif depth < _NESTING and isinstance(getattr(value, "base", None), torch.Tensor):
        yield from _tensors(value.base, depth + 1)


def _new_tensors(result: Any, memories: list[Memory]) -> list[torch.Tensor]:
    """Returned tensors that lie in no argument's memory."""
    given = {memory.flat.untyped_storage().data_ptr() for memory in memories}
    return [tensor for tensor in _tensors(result) if tensor.untyped_storage().data_ptr() not in given]


def _memories(arguments: Any) -> tuple[list[Memory], bool]:
    """The memory behind arguments, each storage once, and whether all addresses among them are known."""
    tensors = list(_tensors(arguments))
    complete = True
    for address in _addresses(arguments):
        found = _tensor_at(address)
        complete &= found is not None
        tensors += [] if found is None else [found]
    by_storage = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors if tensor.numel()}
    return [_memory_of(tensor) for tensor in by_storage.values()], complete


def _addresses(arguments: Any) -> list[int]:
    # No memory lies in the first 4 GiB of an address space of 64 bits, and sizes are smaller.
    found = [address for value in arguments for address in addresses_in(value)] if isinstance(arguments, tuple) else []
    return [address for address in found if address >= 1 << 32]


def _tensor_at(address: int) -> torch.Tensor | None:
    """A tensor alive now whose memory holds an address."""
    for tensor in alive((torch.Tensor,)):
        if type(tensor) in (torch.Tensor, torch.nn.Parameter) and _has_memory(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() <= address < storage.data_ptr() + storage.nbytes():
                return tensor  # type: ignore[no-any-return]
    return None


def _has_memory(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and tensor.device.type != "meta"


def _memory_of(tensor: torch.Tensor) -> Memory:
    flat = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return Memory(flat.set_(tensor.untyped_storage()))


def _elements_of(tensor: torch.Tensor, memory: Memory) -> torch.Tensor:
    """Which elements of its storage a tensor shows."""
    mask = torch.zeros(memory.flat.shape, dtype=torch.bool, device=memory.flat.device)
    # An expanded dimension shows the same element again.
    shape = [1 if stride == 0 else size for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    mask.as_strided(shape, tensor.stride(), tensor.storage_offset()).fill_(True)
    return mask


def _is_float(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _absurd(values: torch.Tensor) -> torch.Tensor:
    """Other values of the same form: floats of several times their size, integers that still serve as indices."""
    if values.dtype is torch.bool:
        return ~values
    if not _is_float(values):
        return _rearranged(values)
    wide = torch.view_as_real(values).flatten() if values.is_complex() else values.to(torch.float32)
    finite = wide[wide.isfinite()].abs()
    size = float(finite.max()) if finite.numel() else 0.0
    most = torch.finfo(values.dtype).max / (2 * max(_FACTORS))
    factors = torch.tensor(_FACTORS, dtype=wide.dtype, device=wide.device)
    scaled = factors.repeat(-(-wide.numel() // len(_FACTORS)))[: wide.numel()] * min(size or 1.0, most)
    return torch.view_as_complex(scaled.view(-1, 2)) if values.is_complex() else scaled.to(values.dtype)


def _mirrored(values: torch.Tensor) -> torch.Tensor:
    """Floats of the same sizes with other signs, in reverse order; others where that moves nothing."""
    wide = values.to(torch.float32) if values.element_size() < 4 else values  # 8 bits have no arithmetic of their own
    mirrored = -wide.flip(0)
    return torch.where(mirrored != wide, mirrored, torch.where(wide != 0, -wide, torch.ones_like(wide)))


def _rearranged(values: torch.Tensor) -> torch.Tensor:
    """Integers in reverse order, so that none is out of the range of the old ones; others where none moves."""
    flipped = values.flip(0)
    low, high = values.min().clamp(max=0), values.max().clamp(min=1)
    return torch.where(flipped != values, flipped, torch.where(values == low, high, low))


def _moved(plain: list[torch.Tensor], again: list[torch.Tensor], moved: list[torch.Tensor]) -> bool:
    """Whether any output differs from the plain one by more than the plain ones differ among themselves."""
    if len(plain) != len(moved) or len(plain) != len(again):
        return True
    return any(_differs(*outputs) for outputs in zip(plain, again, moved, strict=True))


def _differs(plain: torch.Tensor, again: torch.Tensor, moved: torch.Tensor) -> bool:
    if moved.shape != plain.shape or moved.dtype != plain.dtype or again.shape != plain.shape:
        return True
    if not plain.numel():
        return False
    if not _is_float(plain):
        noise = int((plain != again).sum())
        return int((plain != moved).sum()) > _ABOVE_NOISE * noise
    if bool((plain.isnan() != moved.isnan()).any()):
        return not bool((plain.isnan() != again.isnan()).any())
    size = float(torch.nan_to_num(plain.abs(), nan=0.0, posinf=0.0, neginf=0.0).max())
    return _distance(plain, moved) > max(_VISIBLE * size, _ABOVE_NOISE * _distance(plain, again))


def _distance(left: torch.Tensor, right: torch.Tensor) -> float:
    """Largest difference, infinite where only one is; equal infinities and NaN do not differ."""
    gap = torch.where((left == right) | (left.isnan() & right.isnan()), 0.0, (left - right).abs())
    return float(gap.nan_to_num(nan=float("inf")).max())
