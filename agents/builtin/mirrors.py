"""Reversed tensors: what `flip` yields, as far as a running fold along the reversed dimension takes it up again.

`planner.py` asks. flip, cumsum, flip is a running sum from the end of a row on and moves nothing; any other use of a
reversed tensor sends its flip to PyTorch.
"""

from collections.abc import Iterator

from everforge.agents.builtin.axes import Mirrored, Resident, Source, Unfusable
from everforge.agents.builtin.workspace import Workspace, keys_of
from everforge.model.graph import GraphNode

RUNNING = frozenset({"cumsum", "cumprod"})
"""Operations that take a reversed tensor, and yield one."""


def flipped(space: Workspace, node: GraphNode) -> Source | Resident | Mirrored:
    """A tensor reversed along one dimension, or back again. Raises Unfusable where no kernel of ours could use it."""
    tensor, dims = space.arguments(node.args)
    if not space.abilities.reverse_scans or len(dims) != 1:
        raise Unfusable("reverses several dimensions" if len(dims) != 1 else "reverses a dimension")
    if isinstance(tensor, Mirrored):
        if dims[0] % len(tensor.tensor.shape) != tensor.dim:
            raise Unfusable("reverses several dimensions")
        return tensor.tensor
    if not isinstance(tensor, Source | Resident):
        raise Unfusable("is a view of no tensor of ours")
    return Mirrored(tensor, dims[0] % len(tensor.shape), node.id)


def mirrored_operands(space: Workspace, node: GraphNode) -> Iterator[Mirrored]:
    """The reversed tensors that a node reads."""
    for key in keys_of(node):
        operand = space.known.get(key)
        if isinstance(operand, Mirrored):
            yield operand
