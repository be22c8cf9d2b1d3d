"""Makes a `Plan` of a traced graph: walks its operations once and fuses greedily. The generator calls it.

One region is open at a time. An operation that does not fit closes it and tries a fresh one; what fits no region is
left to PyTorch with the reason. A value that a closed region would have to store in an order it does not have is
left to PyTorch too, and planning starts over knowing that: nothing is emitted that was not understood.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any

from everforge.agents.builtin.axes import (
    AxisTable,
    Incompatible,
    Number,
    Resident,
    Source,
    Unfusable,
    reshaped,
)
from everforge.agents.builtin.closing import closed_region, merged_epilogues
from everforge.agents.builtin.drafts import Draft, Operand
from everforge.agents.builtin.matmuls import MATMULS, Product
from everforge.agents.builtin.operations import BOOLEAN, POINTWISE, Ops
from everforge.agents.builtin.plan import (
    Buffer,
    BufferArg,
    DeviceOf,
    MatmulRegion,
    Plan,
    Size,
    Step,
    Store,
    TorchStep,
)
from everforge.agents.builtin.reductions import REDUCTIONS
from everforge.agents.builtin.staging import STAGED, reduced_dims, stages
from everforge.agents.builtin.views import VIEWS
from everforge.model.graph import GraphNode, TaskGraph

Key = tuple[str, int]  # node and which of its outputs


class Unplannable(Exception):  # an answer: there is no candidate for such a graph
    """No candidate can be written for this graph; the text says why."""


class _MustLeave(Exception):  # internal: start over with this node left to PyTorch
    def __init__(self, node: str, reason: str) -> None:
        super().__init__(reason)
        self.node = node


def plan_graph(graph: TaskGraph) -> Plan:
    """The plan of a traced reference. Raises Unplannable where even PyTorch's steps cannot be written down."""
    left: dict[str, str] = {}
    while True:
        try:
            return _Planner(graph, left).run()
        except _MustLeave as stop:
            if stop.node in left:
                raise Unplannable(f"{stop.node}: {stop}") from stop
            left[stop.node] = str(stop)


@dataclass
class _Planner:
    graph: TaskGraph
    left: dict[str, str]
    table: AxisTable = field(default_factory=AxisTable)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    known: dict[Key, Operand | None] = field(default_factory=dict)
    last_use: dict[Key, int] = field(default_factory=dict)
    region_count: int = 0

    def __post_init__(self) -> None:
        self.draft = Draft(self.table)
        for position, node in enumerate(self.graph.nodes):
            for key in _keys(list(node.args) + list(node.kwargs.values())):
                self.last_use[key] = position
        for result in self.graph.results:
            self.last_use[(result.node, result.index or 0)] = len(self.graph.nodes)

    def run(self) -> Plan:
        inputs = 0
        for position, node in enumerate(self.graph.nodes):
            if node.op in ("input", "parameter", "buffer", "constant"):
                self._leaf(node, inputs)
                inputs += node.op == "input"
            else:
                self._operation(node, position)
        self._close(len(self.graph.nodes))
        if self.graph.structure not in ("tensor", "tuple", "list"):
            raise Unplannable("forward returns something other than tensors, a tuple or a list of them")
        results = tuple(self._result((result.node, result.index or 0)) for result in self.graph.results)
        steps = merged_epilogues(tuple(self.steps), results)
        return Plan(tuple(self.buffers.values()), steps, results, self.graph.structure, inputs)

    # leaves -----------------------------------------------------------------------------------------------

    def _leaf(self, node: GraphNode, position: int) -> None:
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
            self._publish((node.id, 0), name, broadcasts=node.op != "input")

    def _publish(self, key: Key, name: str, broadcasts: bool = False) -> None:
        """Make a buffer known as a tensor with axes of its own; extent 1 has none where it only broadcasts."""
        shape = self.buffers[name].shape
        dims = tuple(() if broadcasts and size.literal == 1 else (self.table.new(size),) for size in shape)
        self.known[key] = Source(name, shape, dims, tuple(axis for group in dims for axis in group))

    # operations -------------------------------------------------------------------------------------------

    def _operation(self, node: GraphNode, position: int) -> None:
        if node.op == "getitem":
            self.known[(node.id, 0)] = self.known.get((node.args[0]["node"], node.args[1]))
            return
        name, reason = _short_name(node.op), self.left.get(node.id)
        if reason is None:
            try:
                if name in VIEWS:
                    return self._view(node, name)
                if name in MATMULS:
                    return self._matmul(node, name, position)
                return self._fuse(node, name, position)
            except Unfusable as refusal:
                reason = str(refusal)
        self._leave(node, position, reason)

    def _view(self, node: GraphNode, name: str) -> None:
        args = [self._argument(arg) for arg in node.args]
        tensor, rest = args[0], args[1:]
        if not isinstance(tensor, Source | Resident) or not node.outputs:
            raise Unfusable("is a view of no tensor of ours")
        self._check_dtypes(node)
        self.known[(node.id, 0)] = VIEWS[name](self.table, tensor, node.outputs[0].shape, rest)

    def _fuse(self, node: GraphNode, name: str, position: int) -> None:
        handler = POINTWISE.get(name) or REDUCTIONS.get(name)
        if handler is None:
            raise Unfusable("no kernel of ours computes this operation")
        self._check_dtypes(node)
        if name in ("max", "min") and len(node.outputs) > 1 and any(k == (node.id, 1) for k in self._read()):
            raise Unfusable("asks for the position of the extremum")
        if name in STAGED and self._in_stages(node, name, position):
            return
        for attempt in (0, 1):
            before = self.draft.copy()
            try:
                args = [self._argument(arg) for arg in node.args]
                kwargs = {key: self._argument(arg) for key, arg in node.kwargs.items() if arg is not None}
                result = handler(Ops(self.draft), *args, **_checked(handler, args, kwargs))
                self.known[(node.id, 0)] = result
                self.draft.fuses.append(name)
                return
            except (Incompatible, Unfusable) as refusal:
                self.draft = before
                if isinstance(refusal, Unfusable) or attempt:
                    raise Unfusable(str(refusal)) from refusal
                self._close(position)

    def _in_stages(self, node: GraphNode, name: str, position: int) -> bool:
        """Fold each row in the open region and the rows in a fresh one, if the reduction spans both."""
        tensor, *rest = (self._argument(arg) for arg in node.args)
        if not isinstance(tensor, Resident) or node.kwargs:
            return False
        found = stages(self.draft, tensor, reduced_dims(tensor, rest))
        if found is None:
            return False
        whole, first, second = found
        partial = (node.id, -1)  # no output of the graph has a negative number
        self.known[partial] = REDUCTIONS[name](Ops(self.draft), whole, first)
        self.last_use[partial] = position + 1
        self.draft.fuses.append(f"{name} of each row")
        self._close(position + 1)  # what this node was the last to read is not stored
        result = REDUCTIONS[name](Ops(self.draft), self.known[partial], second)
        if not isinstance(result, Resident):
            raise Unfusable("reduces a constant")
        self.known[(node.id, 0)] = reshaped(self.table, result, node.outputs[0].shape)
        self.draft.fuses.append(name)
        return True

    def _read(self) -> set[Key]:
        """Every output that a `getitem` or a result asks for."""
        picks = {(n.args[0]["node"], int(n.args[1])) for n in self.graph.nodes if n.op == "getitem"}
        return picks | {(result.node, result.index or 0) for result in self.graph.results}

    def _check_dtypes(self, node: GraphNode) -> None:
        """Only float32 (and booleans inside a region) are computed by our kernels."""
        allowed = {"float32", "bool"} if _short_name(node.op) in BOOLEAN else {"float32"}
        if node.outputs and node.outputs[0].dtype not in allowed:
            raise Unfusable(f"yields {node.outputs[0].dtype}; kernels compute float32")
        for key in _keys(list(node.args) + list(node.kwargs.values())):
            operand = self.known.get(key)
            if isinstance(operand, Source) and self.buffers[operand.buffer].dtype != "float32":
                raise Unfusable(f"reads {self.buffers[operand.buffer].dtype}; kernels compute float32")
            if operand is None:
                raise Unfusable("reads something that is no tensor")

    def _argument(self, arg: Any) -> Any:
        """An argument with Refs replaced by what is known of them, tagged numbers by numbers."""
        if isinstance(arg, dict):
            if "node" in arg:
                return self.known.get((arg["node"], arg["index"] or 0))
            return float(arg["float"]) if "float" in arg else arg
        return [self._argument(item) for item in arg] if isinstance(arg, list | tuple) else arg

    # matrix products and what is left to PyTorch ----------------------------------------------------------

    def _matmul(self, node: GraphNode, name: str, position: int) -> None:
        self._check_dtypes(node)
        self._store_operands(node, position)
        args = [self._argument(arg) for arg in node.args]
        product: Product = MATMULS[name](*args)
        operands = [product.lhs, product.rhs, *([product.bias] if product.bias else [])]
        names = [self._in_memory(operand) for operand in operands]
        out = self._temporary(node.outputs[0].dtype, product.shape())
        bias = names[2] if product.bias else None
        region_name = f"product_{len(self.steps)}"
        self.steps.append(
            MatmulRegion(
                region_name, names[0], names[1], bias, product.rhs_transposed, product.batched, out, fuses=(name,)
            )
        )
        self._publish((node.id, 0), out)

    def _store_operands(self, node: GraphNode, position: int) -> None:
        keys = list(_keys(list(node.args) + list(node.kwargs.values())))
        if any(isinstance(self.known.get(key), Resident) for key in keys):
            self._close(position)

    def _in_memory(self, operand: Source) -> str:
        """The buffer behind a tensor, which must have the buffer's own dimensions."""
        flat = [axis for group in operand.dims for axis in self.table.expand(group)]
        own = [extent.literal for extent in self.buffers[operand.buffer].shape]
        if flat == list(self.table.expand(operand.memory)) and own == [e.literal for e in operand.shape]:
            return operand.buffer
        raise Unfusable("multiplies a rearranged tensor")

    def _leave(self, node: GraphNode, position: int, reason: str) -> None:
        """A TorchStep for a node; everything it reads is stored first."""
        if not node.op.startswith("aten."):
            raise Unplannable(f"{node.op} is no ATen operation, so no candidate can call it")
        self._store_operands(node, position)
        args = tuple(self._step_argument(arg) for arg in node.args)
        named = {key: arg for key, arg in node.kwargs.items() if arg is not None and key not in _PLACEMENT}
        kwargs = tuple((key, self._step_argument(arg)) for key, arg in named.items())
        if _short_name(node.op) in ("view", "reshape", "_unsafe_view", "flatten"):
            node_op, args, kwargs = "aten.reshape.default", (args[0], self._output_sizes(node)), ()
        else:
            node_op = node.op
        outputs: list[str | None] = []
        for index, meta in enumerate(node.outputs):
            name = self._temporary(meta.dtype, None)
            shape = tuple(Size(size, ((name, i),)) for i, size in enumerate(meta.shape))
            self.buffers[name] = Buffer(name, shape, meta.dtype, "temporary")
            self._publish((node.id, index), name)
            outputs.append(name)
        self.steps.append(TorchStep(node_op, args, kwargs, tuple(outputs), reason))

    def _output_sizes(self, node: GraphNode) -> tuple[Size, ...]:
        """The extents a reshape asks for, as far as they follow from its input's; constants otherwise."""
        literals = node.outputs[0].shape
        source = self._argument(node.args[0])
        if isinstance(source, Source) and literals and source.shape and literals[0] == source.shape[0].literal:
            return (source.shape[0], *(Size.constant(size) for size in literals[1:]))
        return tuple(Size.constant(size) for size in literals)

    def _step_argument(self, arg: Any) -> Any:
        if isinstance(arg, dict) and "node" in arg:
            return self._viewed(arg)
        if isinstance(arg, dict) and "device" in arg:
            return DeviceOf(next(iter(self.buffers)))
        if isinstance(arg, dict) and "object" in arg:
            raise Unplannable(f"an argument {arg['object']} has no form in source")
        if isinstance(arg, list | tuple):
            return tuple(self._step_argument(item) for item in arg)
        return float(arg["float"]) if isinstance(arg, dict) and "float" in arg else arg

    def _viewed(self, ref: dict[str, Any]) -> BufferArg | float:
        """The buffer of a tensor; one seen through views gets steps that make the view."""
        operand = self.known.get((ref["node"], ref["index"] or 0))
        if isinstance(operand, Number):
            return operand.number
        if not isinstance(operand, Source):
            raise Unplannable(f"{ref['node']} is no tensor")
        return BufferArg(self._materialised(operand))

    def _materialised(self, source: Source) -> str:
        """A buffer with the dimensions of a source: its own, or a permuted, reshaped, expanded copy of it."""
        try:
            return self._in_memory(source)
        except Unfusable:
            pass
        memory = list(self.table.expand(source.memory))
        flat = [axis for group in source.dims for axis in self.table.expand(group)]
        atoms = tuple(self.table.sizes[axis] for axis in memory)
        name = self._torch_view(source.buffer, "aten.reshape.default", (atoms,), atoms)
        unused = [axis for axis in memory if axis not in flat]
        order = tuple(memory.index(axis) for axis in [*unused, *flat])
        if order != tuple(sorted(order)):
            sizes = tuple(atoms[i] for i in order)
            name = self._torch_view(name, "aten.permute.default", (order,), sizes)
        narrow = tuple(e if group else Size.constant(1) for e, group in zip(source.shape, source.dims, strict=True))
        name = self._torch_view(name, "aten.reshape.default", (narrow,), narrow)
        if narrow != source.shape:
            name = self._torch_view(name, "aten.expand.default", (source.shape,), source.shape)
        return name

    def _torch_view(self, name: str, op: str, args: tuple[Any, ...], shape: tuple[Size, ...]) -> str:
        out = self._temporary(self.buffers[name].dtype, shape)
        self.steps.append(TorchStep(op, (BufferArg(name), *args), (), (out,), "a view, nothing is computed"))
        return out

    def _temporary(self, dtype: str, shape: tuple[Size, ...] | None) -> str:
        name = f"t{sum(buffer.origin == 'temporary' for buffer in self.buffers.values())}"
        self.buffers[name] = Buffer(name, shape or (), dtype, "temporary")
        return name

    def _result(self, key: Key) -> str:
        operand = self.known.get(key)
        if not isinstance(operand, Source):
            raise Unplannable(f"the result {key[0]} is no tensor")
        return self._materialised(operand)

    # closing the open region ------------------------------------------------------------------------------

    def _close(self, position: int) -> None:
        """Store what later operations read, append the region, open a new one."""
        draft, self.draft = self.draft, Draft(self.table)
        stores: list[Store] = []
        stored: dict[tuple[int, bool], Source] = {}
        for key, tensor in list(self.known.items()):
            if not isinstance(tensor, Resident):
                continue
            if self.last_use.get(key, -1) < position:
                self.known[key] = None
                continue
            self._require_storable(draft, key, tensor)
            per_row = draft.is_per_row(tensor)
            first = stored.get((tensor.value, per_row))
            if first is None:
                first = self._stored(draft, tensor)
                stored[(tensor.value, per_row)] = first
                stores.append(Store(tensor.value, first.buffer, per_row))
            self.known[key] = Source(first.buffer, tensor.shape, tensor.dims, first.memory)
        if stores:
            self.steps.append(closed_region(draft, stores, f"kernel_{self.region_count}"))
            self.region_count += 1

    def _require_storable(self, draft: Draft, key: Key, tensor: Resident) -> None:
        node = next(node for node in self.graph.nodes if node.id == key[0])
        if _is_boolean(draft, tensor):
            raise _MustLeave(_producer(self.graph, node), "its booleans are read outside a kernel")
        if not draft.storable(tensor):
            raise _MustLeave(node.id, "its result would not lie in memory in the order the kernel runs")

    def _stored(self, draft: Draft, tensor: Resident) -> Source:
        """A new buffer for a value, laid out as the tensor first asked for."""
        name = self._temporary("float32", tensor.shape)
        memory = tuple(axis for group in tensor.dims for axis in draft.table.expand(group))
        return Source(name, tensor.shape, tensor.dims, memory)


def _is_boolean(draft: Draft, tensor: Resident) -> bool:
    value = draft.values[tensor.value]
    return getattr(value, "op", None) in BOOLEAN


def _producer(graph: TaskGraph, node: GraphNode) -> str:
    """The comparison behind a chain of views."""
    while _short_name(node.op) in VIEWS:
        node = next(n for n in graph.nodes if n.id == node.args[0]["node"])
    return node.id


_PLACEMENT = ("layout", "memory_format", "pin_memory", "non_blocking")
"""Arguments that say how a result lies in memory; every buffer of a plan is made contiguous anyway."""


def _checked(handler: Any, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments that bind to a handler. Raises Unfusable where ATen's call has more than it knows."""
    if kwargs.get("dtype") in ({"dtype": "float32"}, None):
        kwargs = {key: value for key, value in kwargs.items() if key != "dtype"}
    try:
        inspect.signature(handler).bind(None, *args, **kwargs)
    except TypeError as error:
        raise Unfusable(f"is called with arguments we do not handle ({error})") from error
    return kwargs


def _keys(value: Any) -> set[Key]:
    if isinstance(value, dict):
        return {(value["node"], value["index"] or 0)} if "node" in value else set()
    return {key for item in value for key in _keys(item)} if isinstance(value, list | tuple) else set()


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _short_name(op: str) -> str:
    """`aten.softmax.int` → `softmax`; empty for what is not ATen's."""
    parts = op.split(".")
    return parts[1] if parts[0] == "aten" and len(parts) > 1 else ""
