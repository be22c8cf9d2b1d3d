"""What the planner knows while it walks a graph: axes, buffers, the steps so far, and where each output is.

`planner.py` fills it and `left_to_torch.py` adds the steps that PyTorch runs. Nothing here decides what is fused.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from everforge.agents.builtin.abilities import BASIC, Abilities
from everforge.agents.builtin.axes import AxisTable, Number, Resident, Source, Unfusable
from everforge.agents.builtin.drafts import Operand
from everforge.agents.builtin.operations import BOOLEAN
from everforge.agents.builtin.plan import Buffer, Size, Step
from everforge.model.graph import GraphNode, TaskGraph

Key = tuple[str, int]  # node and which of its outputs


@dataclass
class Workspace:
    """The state of one walk over `graph`."""

    graph: TaskGraph
    abilities: Abilities = BASIC
    table: AxisTable = field(default_factory=AxisTable)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    known: dict[Key, Operand | None] = field(default_factory=dict)
    last_use: dict[Key, int] = field(default_factory=dict)  # position in the graph

    def __post_init__(self) -> None:
        for position, node in enumerate(self.graph.nodes):
            for key in keys_of(node):
                self.last_use[key] = position
        for result in self.graph.results:
            self.last_use[(result.node, result.index or 0)] = len(self.graph.nodes)

    def add_leaf(self, node: GraphNode, position: int) -> None:
        """Make an input (argument number `position`), parameter, buffer or constant of the reference known."""
        if not node.outputs:
            self.known[(node.id, 0)] = None  # an input that is no tensor; whoever reads it cannot be planned
            return
        meta, name = node.outputs[0], f"{node.op}_{_identifier(node.id)}"
        shape = tuple(Size(size, ((name, i),)) for i, size in enumerate(meta.shape))
        if node.op == "constant":
            shape = tuple(Size.constant(size) for size in meta.shape)
        origin: Any = node.op
        values = node.args[0] if node.op == "constant" and node.args else None
        where = position if node.op == "input" else None
        self.buffers[name] = Buffer(name, shape, meta.dtype, origin, node.target, where, values)
        if node.op == "constant" and not meta.shape and isinstance(values, int | float):
            self.known[(node.id, 0)] = Number(float(values))
        else:
            self.publish((node.id, 0), name, broadcasts=node.op != "input")

    def publish(self, key: Key, name: str, broadcasts: bool = False) -> None:
        """Make a buffer known as a tensor with axes of its own; extent 1 has none where it only broadcasts."""
        shape = self.buffers[name].shape
        dims = tuple(() if broadcasts and size.literal == 1 else (self.table.new(size),) for size in shape)
        self.known[key] = Source(name, shape, dims, tuple(axis for group in dims for axis in group))

    def temporary(self, dtype: str, shape: tuple[Size, ...] | None) -> str:
        """The name of a new buffer between steps."""
        name = f"t{sum(buffer.origin == 'temporary' for buffer in self.buffers.values())}"
        self.buffers[name] = Buffer(name, shape or (), dtype, "temporary")
        return name

    def argument(self, arg: Any) -> Any:
        """An argument with Refs replaced by what is known of them, tagged numbers by numbers."""
        if isinstance(arg, dict):
            if "node" in arg:
                return self.known.get((arg["node"], arg["index"] or 0))
            return float(arg["float"]) if "float" in arg else arg
        return [self.argument(item) for item in arg] if isinstance(arg, list | tuple) else arg

    def dtype_of(self, key: Key) -> str:
        """The dtype of an output in the reference; what the planner adds between operations is float32."""
        node = next(node for node in self.graph.nodes if node.id == key[0])
        return node.outputs[key[1]].dtype if 0 <= key[1] < len(node.outputs) else "float32"

    def arguments(self, args: Iterable[Any]) -> list[Any]:
        """Several arguments, each as `argument` gives it."""
        return [self.argument(arg) for arg in args]

    def outputs_read(self) -> set[Key]:
        """Every output that a `getitem` or a result asks for."""
        picks = {(n.args[0]["node"], int(n.args[1])) for n in self.graph.nodes if n.op == "getitem"}
        return picks | {(result.node, result.index or 0) for result in self.graph.results}

    def check_dtypes(
        self, node: GraphNode, yields: frozenset[str] | None = None, reads: frozenset[str] = frozenset()
    ) -> None:
        """Raise Unfusable unless a node reads what kernels read and yields what they store or hold.

        That is floats, booleans inside a region, or the dtypes `yields` where these are given; it may read `reads` too.
        """
        allowed = yields or self.abilities.floats | ({"bool"} if short_name(node.op) in BOOLEAN else set())
        if node.outputs and node.outputs[0].dtype not in allowed:
            raise Unfusable(f"yields {node.outputs[0].dtype}; kernels compute float32")
        readable = self.abilities.floats | self.abilities.reads | reads
        for key in keys_of(node):
            operand = self.known.get(key)
            if isinstance(operand, Source) and self.buffers[operand.buffer].dtype not in readable:
                raise Unfusable(f"reads {self.buffers[operand.buffer].dtype}; kernels compute float32")
            if operand is None:
                raise Unfusable("reads something that is no tensor")

    def reads_resident(self, node: GraphNode) -> bool:
        """Whether a node reads what only the open region holds."""
        return any(isinstance(self.known.get(key), Resident) for key in keys_of(node))

    def in_memory(self, operand: Source) -> str:
        """The buffer behind a tensor. Raises Unfusable unless the tensor has the buffer's own dimensions."""
        flat = [axis for group in operand.dims for axis in self.table.expand(group)]
        own = [extent.literal for extent in self.buffers[operand.buffer].shape]
        if flat == list(self.table.expand(operand.memory)) and own == [e.literal for e in operand.shape]:
            return operand.buffer
        raise Unfusable("multiplies a rearranged tensor")


def keys_of(node: GraphNode) -> set[Key]:
    """The outputs a node reads."""
    return _keys(list(node.args) + list(node.kwargs.values()))


def short_name(op: str) -> str:
    """`aten.softmax.int` → `softmax`; empty for what is not ATen's."""
    parts = op.split(".")
    return parts[1] if parts[0] == "aten" and len(parts) > 1 else ""


def _keys(value: Any) -> set[Key]:
    if isinstance(value, dict):
        return {(value["node"], value["index"] or 0)} if "node" in value else set()
    return {key for item in value for key in _keys(item)} if isinstance(value, list | tuple) else set()


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)
