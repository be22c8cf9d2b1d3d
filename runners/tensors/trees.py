"""Trees of tensors across process borders: a JSON description and one block of shared memory.

The parent packs inputs and parameters into sealed memory that a child can map but not change; a child
writes its outputs into memory the parent made. No pickle in either direction.
"""

import fcntl
import math
import mmap
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch

from everforge.runners.tensors.layouts import ALIGNMENT, offset_of, order_of, span, steps_of

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL

Tree = Any
Description = dict[str, Any]


class UnsupportedValue(Exception):
    """A value that is neither a tensor nor plain data; it cannot cross to another process."""


def map_tree(tree: Tree, change: Callable[[torch.Tensor], Any]) -> Tree:
    """The same tree with every tensor replaced by `change(tensor)`."""
    if isinstance(tree, torch.Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: map_tree(value, change) for key, value in items_of(tree)}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tree(value, change) for value in values_of(tree)))
    if isinstance(tree, list | tuple):
        return type(tree)(map_tree(value, change) for value in values_of(tree))
    return tree


def values_of(sequence: list[Any] | tuple[Any, ...]) -> Iterator[Any]:
    """What a list or tuple holds, by its base class: one of a candidate's could compute it when it is asked."""
    return list.__iter__(sequence) if isinstance(sequence, list) else tuple.__iter__(sequence)


def items_of(mapping: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """A dict's items by name: in which order a model puts them in is no part of what it returns.

    By the base class, as in `values_of`.
    """
    items = list(dict.items(mapping))
    by_name = all(type(key) is str for key, _ in items)
    return sorted(items, key=lambda item: item[0]) if by_name else items


def leaves(tree: Tree) -> Iterator[torch.Tensor]:
    """The tensors of a tree, in order."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict):
        for _, value in items_of(tree):
            yield from leaves(value)
    elif isinstance(tree, list | tuple):
        for value in values_of(tree):
            yield from leaves(value)


def size_bytes(tree: Tree) -> int:
    """Bytes of all tensors of a tree."""
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves(tree))


def describe(tree: Tree, *, exact: bool = False) -> tuple[Description, int]:
    """The JSON description of a tree and the size in bytes of the block that holds its tensors.

    A tensor that is dense in some order of its dimensions keeps that order. Only an `exact` description also keeps
    gaps between elements (`steps`) and a start off a cache line's (`offset`); both are counted in elements.
    """
    end = 0

    def node(value: Tree) -> Description:
        nonlocal end
        if isinstance(value, torch.Tensor):
            start = aligned(end)
            described = _tensor_node(value, start, exact)
            end = start + _extent(described) * value.element_size()
            return described
        return _plain_node(value, node)

    return node(tree), end


def aligned(size: int) -> int:
    """The next size in bytes at which memory for any tensor may start."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _tensor_node(tensor: torch.Tensor, start: int, exact: bool) -> Description:
    offset, steps = (offset_of(tensor), steps_of(tensor)) if exact else (0, None)
    return {
        "tensor": start,
        "shape": list(tensor.shape),
        "order": order_of(tensor),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "device": tensor.device.type,
        **({"offset": offset} if offset else {}),
        **({"steps": steps} if steps is not None else {}),
    }


def _extent(node: Description) -> int:
    """Elements from the start of a tensor's memory to its last element."""
    steps, count = node.get("steps"), math.prod(node["shape"])
    return int(node.get("offset", 0)) + (count if steps is None else span(node["shape"], steps))


def _plain_node(value: Any, node: Callable[[Any], Description]) -> Description:
    if isinstance(value, dict):
        return {"dict": [[key, node(item)] for key, item in items_of(value)]}
    if isinstance(value, tuple):
        return {"tuple": [node(item) for item in values_of(value)]}
    if isinstance(value, list):
        return {"list": [node(item) for item in values_of(value)]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, float):
        return {"float": value.hex()}
    if value is None or isinstance(value, bool | int | str):
        return {"value": value}
    raise UnsupportedValue(f"a {type(value).__name__} cannot be passed to a candidate")


def write(tree: Tree, description: Description, block: torch.Tensor) -> None:
    """Copy the tensors of `tree` into a block (uint8) at the places its description names."""
    for value, node in _pairs(tree, description):
        if value.numel():
            _read_tensor(node, block).copy_(value.detach())


def _pairs(tree: Tree, node: Description) -> Iterator[tuple[torch.Tensor, Description]]:
    if "tensor" in node:
        yield tree, node
    elif "dict" in node:
        for key, item in node["dict"]:
            yield from _pairs(dict.__getitem__(tree, key), item)
    elif "tuple" in node or "list" in node:
        for value, item in zip(values_of(tree), node["tuple"] if "tuple" in node else node["list"], strict=True):
            yield from _pairs(value, item)


def read(description: Description, block: torch.Tensor) -> Tree:
    """The tree a description and its block stand for; tensors are views of the block."""
    return _tree(description, lambda node: _read_tensor(node, block))


def blank(description: Description, device: torch.device) -> Tree:
    """The tree a description stands for, its tensors on a device and without values."""
    return _tree(description, lambda node: _blank_tensor(node, device))


def _tree(description: Description, tensor: Callable[[Description], torch.Tensor]) -> Tree:
    """The tree of a description, its tensors made by `tensor` from their nodes."""
    if "tensor" in description:
        return tensor(description)
    if "dict" in description:
        return {key: _tree(item, tensor) for key, item in description["dict"]}
    if "tuple" in description:
        return tuple(_tree(item, tensor) for item in description["tuple"])
    if "list" in description:
        return [_tree(item, tensor) for item in description["list"]]
    if "dtype" in description:
        return getattr(torch, description["dtype"])
    if "complex" in description:
        return complex(*description["complex"])
    if "float" in description:
        return float.fromhex(description["float"])
    return description["value"]


def _read_tensor(node: Description, block: torch.Tensor) -> torch.Tensor:
    dtype: torch.dtype = getattr(torch, node["dtype"])
    start = node["tensor"]
    memory = block[start : start + _extent(node) * dtype.itemsize]
    return _placed(memory.view(dtype) if memory.numel() else torch.empty(0, dtype=dtype), node)


def _blank_tensor(node: Description, device: torch.device) -> torch.Tensor:
    return _placed(torch.empty(_extent(node), dtype=getattr(torch, node["dtype"]), device=device), node)


def _placed(memory: torch.Tensor, node: Description) -> torch.Tensor:
    """The tensor of a description in memory of its extent (1-d, of its dtype)."""
    flat = memory[node.get("offset", 0) :]
    if "steps" in node:
        return torch.as_strided(flat, node["shape"], node["steps"])
    return _in_order(flat.view(_laid_out(node)), node)


def _laid_out(node: Description) -> list[int]:
    """The shape in the order of memory, slowest dimension first."""
    shape, order = node["shape"], node["order"]
    return shape if order is None else [shape[dim] for dim in order]


def _in_order(tensor: torch.Tensor, node: Description) -> torch.Tensor:
    """A tensor with `_laid_out`'s shape, its dimensions put back in their own order."""
    order = node["order"]
    return tensor if order is None else tensor.permute([order.index(dim) for dim in range(len(order))])


class Block:
    """A block of anonymous shared memory, passed to other processes by its descriptor."""

    def __init__(self, size: int) -> None:
        self.size = max(size, 1)
        self.descriptor = os.memfd_create("everforge", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, self.size)

    @classmethod
    def sealed(cls, tree: Tree) -> tuple["Block", Description]:
        """A block holding a tree, which nobody can change any more."""
        description, size = describe(tree, exact=True)
        block = cls(size)
        view = map_block(block.descriptor, shared=True)
        write(tree, description, view)
        del view
        fcntl.fcntl(block.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return block, description

    def close(self) -> None:
        """Give the memory back once nobody maps it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __del__(self) -> None:
        self.close()


def map_block(descriptor: int, shared: bool) -> torch.Tensor:
    """A block as a uint8 tensor. Unless `shared`, writes stay in this process (copy on write)."""
    size = os.fstat(descriptor).st_size
    flags = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
    return torch.frombuffer(mmap.mmap(descriptor, size, flags=flags), dtype=torch.uint8)
