"""What rewrites ask of a graph: who makes and who reads a value, what depends on parameters alone.

`algebra.py` and the rewrites in `algebra_*.py` use it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from everforge.agents.builtin.matmuls import MATMULS
from everforge.agents.builtin.operations import POINTWISE
from everforge.agents.builtin.reductions import REDUCTIONS
from everforge.agents.builtin.views import VIEWS
from everforge.agents.builtin.weaving import Weaver, named, short_op
from everforge.agents.builtin.workspace import keys_of
from everforge.model.graph import GraphNode, TaskGraph

STATE = ("parameter", "buffer", "constant")
LEAVES = (*STATE, "input")
# Operations of parameters alone that can be done at load; they draw no random numbers and change nothing.
_PREPARED = frozenset({*POINTWISE, *REDUCTIONS, *MATMULS, "full_like"})


@dataclass(frozen=True)
class Found:
    """A rewritten graph and what was done."""

    graph: TaskGraph
    name: str


class GraphView:
    """One graph, with its nodes by name and their readers."""

    def __init__(self, graph: TaskGraph) -> None:
        self.graph = graph
        self.nodes = {node.id: node for node in graph.nodes}
        self.metas = {node.id: node.outputs[0] for node in graph.nodes if node.outputs}
        self.state = state_nodes(graph)
        self._readers: dict[str, list[str]] = {node.id: [] for node in graph.nodes}
        for node in graph.nodes:
            for name, _ in keys_of(node):
                self._readers[name].append(node.id)
        for result in graph.results:
            self._readers[result.node].append("")

    def calls(self, *names: str) -> Iterator[GraphNode]:
        """The nodes that call one of ATen's operations of these names."""
        return (node for node in self.graph.nodes if short_op(node) in names and node.outputs)

    def maker(self, arg: Any) -> GraphNode | None:
        """The node whose first output an argument is; that of a batch norm through its `getitem`."""
        node = self.nodes.get(named(arg) or "")
        if node is not None and node.op == "getitem" and node.args[1] == 0:
            return self.nodes.get(node.args[0]["node"])
        return node

    def has_one_reader(self, arg: Any) -> bool:
        """Whether an argument is read once and is no result."""
        name = named(arg)
        if name is None or len(self._readers[name]) != 1 or not self._readers[name][0]:
            return False
        node = self.nodes[name]
        return node.op != "getitem" or self.has_one_reader(node.args[0])

    def shape(self, arg: Any) -> tuple[int, ...] | None:
        """The extents of a tensor; None for anything else."""
        meta = self.metas.get(named(arg) or "")
        return meta.shape if meta is not None else None

    def is_state(self, arg: Any) -> bool:
        """Whether an argument is a number, or a tensor that depends on parameters alone."""
        if isinstance(arg, dict) and "float" in arg:
            return True
        return isinstance(arg, int | float) or named(arg) in self.state

    def is_made_at_load(self, node: GraphNode) -> bool:
        """Whether a node computes something from parameters alone."""
        return node.id in self.state and short_op(node) in _PREPARED

    def weaver(self, node: GraphNode) -> Weaver:
        """New nodes in place of `node`."""
        return Weaver(node, self.metas)

    def found(self, node: GraphNode, made: Sequence[GraphNode], name: str) -> Found:
        """The graph with `made` in place of `node`."""
        nodes = [new for old in self.graph.nodes for new in (made if old.id == node.id else [old])]
        return Found(self.graph.model_copy(update={"nodes": tuple(nodes)}), name)


def state_nodes(graph: TaskGraph) -> frozenset[str]:
    """Names of parameters, buffers, constants, and of what is computed or seen of them alone."""
    found: set[str] = set()
    for node in graph.nodes:
        operands = {name for name, _ in keys_of(node)}
        derived = short_op(node) in _PREPARED or short_op(node) in VIEWS
        if node.op in STATE or (derived and operands and operands <= found):
            found.add(node.id)
    return frozenset(found)


def without_unread(graph: TaskGraph) -> TaskGraph:
    """The graph without operations nobody reads; inputs and parameters stay."""
    live = {result.node for result in graph.results}
    for node in reversed(graph.nodes):
        if node.id in live:
            live |= {name for name, _ in keys_of(node)}
    kept = tuple(node for node in graph.nodes if node.id in live or node.op in LEAVES)
    return graph.model_copy(update={"nodes": kept})


def dims_of(arg: Any, rank: int) -> frozenset[int]:
    """The dimensions a reduction names; none or an empty list is all."""
    if arg is None or arg == []:
        return frozenset(range(rank))
    return frozenset(dim % rank for dim in (arg if isinstance(arg, list | tuple) else [arg]))
