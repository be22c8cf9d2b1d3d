"""Who reads what in a traced graph, and which of its values are known before any call.

What `tracing_cost.py`, `demand.py`, `least_work.py` and `algebra.py` stand on; pure functions of a `TaskGraph`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from everforge.model.graph import GraphNode, TensorMeta
from everforge.runners.facts.operations import VIEWS

LEAVES = ("input", "parameter", "buffer", "constant")


def references(value: Any) -> Iterator[str]:
    """Names of the nodes that an argument refers to."""
    if isinstance(value, dict):
        if "node" in value:
            yield value["node"]
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def operands(node: GraphNode) -> list[str]:
    """Names of all nodes a node reads, in the order of its arguments."""
    return list(references([*node.args, *node.kwargs.values()]))


def short_name(node: GraphNode) -> str:
    """`aten.linear.default` → `linear`; the names torch.fx gives keep their last part."""
    parts = node.op.split(".")
    return parts[1] if parts[0] == "aten" and len(parts) > 1 else parts[-1]


def is_convolution(node: GraphNode) -> bool:
    """Whether a node convolves, forward or transposed."""
    name = short_name(node)
    return name == "convolution" or (name.startswith("conv") and name[4:5] in ("1", "2", "3", "_"))


def argument(node: GraphNode, position: int, name: str, default: Any = None) -> Any:
    """An argument by its place or its keyword; tracers leave out those that have their default."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def factors(node: GraphNode) -> list[str]:
    """The operands that a product multiplies: neither its bias nor what it adds to."""
    read = operands(node)
    if short_name(node) in ("addmm", "baddbmm", "addmv", "addbmm"):
        return read[1:3]
    return read[:3] if short_name(node) == "scaled_dot_product_attention" else read[:2]


class Flow:
    """A graph with its edges in both directions."""

    def __init__(self, nodes: Sequence[GraphNode]) -> None:
        self.nodes: Mapping[str, GraphNode] = {node.id: node for node in nodes}
        self.readers: dict[str, list[GraphNode]] = {node.id: [] for node in nodes}
        for node in (node for node in nodes if node.outputs):  # an assertion on a tensor reads no element of it
            for name in dict.fromkeys(operands(node)):
                self.readers[name].append(node)
        self.static = _static(nodes)

    def meta(self, name: str) -> TensorMeta | None:
        """Shape and dtype of a node's first output."""
        outputs = self.nodes[name].outputs
        return outputs[0] if outputs else None

    def operand(self, node: GraphNode, position: int, name: str = "") -> str | None:
        """The node that stands in one place of the arguments; None for a number, a list or nothing."""
        value = argument(node, position, name)
        return value["node"] if isinstance(value, dict) and "node" in value else None

    def shapes(self, node: GraphNode) -> list[tuple[int, ...]]:
        """Shapes of the tensors among a node's positional arguments."""
        metas = (self.meta(name) for name in references(node.args))
        return [meta.shape for meta in metas if meta is not None]

    def leaf_behind(self, name: str | None) -> str | None:
        """The leaf that a node is a view of, if nothing else reads that leaf or the views between."""
        while name is not None:
            node = self.nodes[name]
            if len(self.readers[name]) != 1:
                return None
            if node.op in LEAVES:
                return name
            name = self.operand(node, 0) if short_name(node) in VIEWS else None
        return None


def _static(nodes: Sequence[GraphNode]) -> frozenset[str]:
    """Nodes that follow from parameters, buffers and constants alone: frozen ones can be made while loading."""
    found: set[str] = set()
    for node in nodes:
        if node.op == "input":
            continue
        if node.op in LEAVES or all(name in found for name in operands(node)):
            found.add(node.id)
    return frozenset(found)
