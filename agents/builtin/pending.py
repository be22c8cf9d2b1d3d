"""Rearranged tensors that a running fold takes up, so that nothing is moved; `planner.py` asks.

flip, cumsum, flip is a running sum from the end of a row on. Dropping the last element and padding one zero in front
delays a row by one: the running sum of that is the sum of all before each element. Any other use of such a tensor
sends the operation that began it to PyTorch.
"""

from collections.abc import Callable, Iterator
from typing import Any

from everforge.agents.builtin.axes import Delayed, Mirrored, Pending, Resident, Source, Trimmed, Unfusable
from everforge.agents.builtin.workspace import Workspace, keys_of
from everforge.model.graph import GraphNode

RUNNING = frozenset({"cumsum", "cumprod"})
"""Operations that take a reversed or delayed tensor."""


def pending_operands(space: Workspace, node: GraphNode) -> Iterator[Pending]:
    """The rearranged tensors that a node reads."""
    for key in keys_of(node):
        operand = space.known.get(key)
        if isinstance(operand, Pending):
            yield operand


def _flipped(space: Workspace, node: GraphNode, tensor: Any, dims: list[int]) -> Source | Resident | Mirrored:
    """A tensor reversed along one dimension, or back again."""
    if not space.abilities.reverse_scans or len(dims) != 1:
        raise Unfusable("reverses several dimensions" if len(dims) != 1 else "reverses a dimension")
    if isinstance(tensor, Mirrored):
        if dims[0] % len(tensor.tensor.shape) != tensor.dim:
            raise Unfusable("reverses several dimensions")
        return tensor.tensor
    held = _in_place(tensor)
    return Mirrored(held, dims[0] % len(held.shape), node.id)


def _trimmed(
    _: Workspace, node: GraphNode, tensor: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Trimmed:
    """All but the last element along a dimension."""
    held = _in_place(tensor)
    if start not in (None, 0) or end != -1 or step != 1:
        raise Unfusable("takes a part of a tensor")
    return Trimmed(held, dim % len(held.shape), node.id)


def _delayed(
    _: Workspace, node: GraphNode, tensor: Any, pad: list[int], mode: Any = "constant", value: Any = None
) -> Delayed:
    """One zero before a tensor without its last element."""
    if not isinstance(tensor, Trimmed):
        raise Unfusable("pads a tensor")
    place = 2 * (len(tensor.tensor.shape) - 1 - tensor.dim)
    wanted = [0] * place + [1, 0]
    fill = value if node.op.startswith("aten.pad.") else (0 if mode == "constant" else mode)
    if pad[: place + 2] != wanted or any(pad[place + 2 :]) or fill not in (None, 0) or isinstance(fill, str):
        raise Unfusable("pads a tensor")
    if node.op.startswith("aten.pad.") and mode != "constant":
        raise Unfusable("pads a tensor by its own elements")
    return Delayed(tensor.tensor, tensor.dim, tensor.node)


def _in_place(tensor: Any) -> Source | Resident:
    if not isinstance(tensor, Source | Resident):
        raise Unfusable("is a view of no tensor of ours")
    return tensor


REARRANGED: dict[str, Callable[..., Source | Resident | Pending]] = {
    "flip": _flipped,
    "slice": _trimmed,
    "pad": _delayed,
    "constant_pad_nd": _delayed,
}
"""ATen's short name to its handler, which gets the workspace, the node and its arguments."""
