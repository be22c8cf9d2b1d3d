"""Graphs written anew, node by node: what `normal_form.py` and the rewrites of `algebra_*.py` have in common.

A node that is replaced keeps its name for the last of the nodes that stand in for it, so nothing that reads it changes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from everforge.model.graph import GraphNode, TaskGraph, TensorMeta

Arg = Any  # a Ref as a graph's arguments have it, a number, or a list of those


def ref(name: str) -> dict[str, Any]:
    """The first output of a node, as an argument."""
    return {"node": name, "index": None}


def named(arg: Arg) -> str | None:
    """The node an argument is the first output of; None for anything else."""
    return arg["node"] if isinstance(arg, dict) and "node" in arg and not arg["index"] else None


@dataclass
class Weaver:
    """Nodes that stand in for `node`, in order; `metas` tells every earlier node's first output."""

    node: GraphNode
    metas: Mapping[str, TensorMeta]
    made: list[GraphNode] = field(default_factory=list)

    def shape(self, arg: Arg) -> tuple[int, ...] | None:
        """The extents of an argument; None if it is no tensor."""
        name = named(arg)
        held = next((node.outputs[0] for node in self.made if node.id == name), None)
        meta = held or self.metas.get(name or "")
        return meta.shape if meta is not None else None

    def add(self, op: str, args: Sequence[Arg], shape: Sequence[int], **kwargs: Any) -> dict[str, Any]:
        """One more node; what it yields, as an argument of the next."""
        name = self._free_name(op.split(".")[1])
        self.made.append(GraphNode(id=name, op=op, args=tuple(args), kwargs=kwargs, outputs=(self._meta(shape),)))
        return ref(name)

    def finish(self, op: str, args: Sequence[Arg], **kwargs: Any) -> list[GraphNode]:
        """All nodes, the last one under the name and with the output of the node they stand in for."""
        last = self.node.model_copy(update={"op": op, "args": tuple(args), "kwargs": kwargs})
        return [*self.made, last.model_copy(update={"outputs": self.node.outputs[:1]})]

    def _free_name(self, op: str) -> str:
        """A name no node has: one that stands in for others may be replaced again."""
        number = len(self.made)
        taken = {*self.metas, *(node.id for node in self.made)}
        while (name := f"{self.node.id}_{number}_{op}") in taken:
            number += 1
        return name

    def _meta(self, shape: Sequence[int]) -> TensorMeta:
        strides, step = list[int](), 1
        for extent in reversed(shape):
            strides.insert(0, step)
            step *= extent
        return TensorMeta(shape=tuple(shape), strides=tuple(strides), dtype=self.node.outputs[0].dtype)


Change = Callable[[Weaver], list[GraphNode] | None]


def woven(graph: TaskGraph, changes: Mapping[str, Change]) -> TaskGraph:
    """The graph with each node that a change of its operation replaces; None from a change leaves it as it is."""
    nodes: list[GraphNode] = []
    metas: dict[str, TensorMeta] = {}
    for node in graph.nodes:
        change = changes.get(short_op(node))
        found = change(Weaver(node, metas)) if change is not None and node.outputs else None
        for made in found if found is not None else [node]:
            nodes.append(made)
            if made.outputs:
                metas[made.id] = made.outputs[0]
    return graph.model_copy(update={"nodes": tuple(nodes)})


def short_op(node: GraphNode) -> str:
    """`aten.softmax.int` → `softmax`; what is not ATen's as it is."""
    parts = node.op.split(".")
    return parts[1] if parts[0] == "aten" and len(parts) > 1 else node.op
