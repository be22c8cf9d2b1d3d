"""Makes a `Plan` of a traced graph: walks its operations once and fuses greedily. The generator calls it.

One region is open at a time. An operation that does not fit closes it and tries a fresh one; what fits no region is
left to PyTorch with the reason. A value that a closed region would have to store in an order it does not have is
left to PyTorch too, and planning starts over knowing that: nothing is emitted that was not understood.
"""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from everforge.agents.builtin import left_to_torch
from everforge.agents.builtin.abilities import BASIC, Abilities
from everforge.agents.builtin.axes import Incompatible, Pending, Resident, Source, Unfusable, reshaped
from everforge.agents.builtin.closing import closed_region, merged_epilogues
from everforge.agents.builtin.drafts import Draft, Operand
from everforge.agents.builtin.layouts import placement
from everforge.agents.builtin.left_to_torch import Unplannable
from everforge.agents.builtin.losses import LOSSES
from everforge.agents.builtin.matmuls import MATMULS, Product
from everforge.agents.builtin.normal_form import normalised
from everforge.agents.builtin.operations import BOOLEAN, POINTWISE, Handler, Ops
from everforge.agents.builtin.pending import REARRANGED, RUNNING, pending_operands
from everforge.agents.builtin.plan import MatmulRegion, Plan, Store
from everforge.agents.builtin.preparation import made_at_load, prepared_first
from everforge.agents.builtin.reductions import LOCATES, REDUCTIONS
from everforge.agents.builtin.row_losses import BY_CLASS, CLASSES, ROW_LOSSES, RowLoss
from everforge.agents.builtin.staging import STAGED, reduced_dims, stages
from everforge.agents.builtin.triangles import TRIANGLES, in_triangle
from everforge.agents.builtin.views import VIEWS
from everforge.agents.builtin.windows import WINDOWS
from everforge.agents.builtin.workspace import Key, Workspace, short_name
from everforge.model.graph import GraphNode, TaskGraph

_HANDLERS: Mapping[str, Handler] = {**POINTWISE, **REDUCTIONS, **LOSSES, **ROW_LOSSES, **WINDOWS}

__all__ = ["Unplannable", "plan_graph"]


class _MustLeave(Exception):  # internal: start over with this node left to PyTorch
    def __init__(self, node: str, reason: str) -> None:
        super().__init__(reason)
        self.node = node


def plan_graph(graph: TaskGraph, abilities: Abilities = BASIC, rewrites: tuple[str, ...] = ()) -> Plan:
    """The plan of a traced reference for kernels with these abilities.

    `rewrites` says which algebra the graph went through; then what needs parameters alone is done at load.
    Raises Unplannable where even PyTorch's steps cannot be written down.
    """
    normal = normalised(graph, abilities)
    left = made_at_load(normal) if rewrites else {}
    while True:
        try:
            return _Planner(normal, left, abilities, rewrites).run()
        except _MustLeave as stop:
            if stop.node in left:
                raise Unplannable(f"{stop.node}: {stop}") from stop
            left[stop.node] = str(stop)


class _Planner:
    """One walk over a graph; `left` holds the nodes that PyTorch must run, with the reason for each."""

    def __init__(
        self, graph: TaskGraph, left: Mapping[str, str], abilities: Abilities, rewrites: tuple[str, ...]
    ) -> None:
        self.graph = graph
        self.rewrites = rewrites
        self.left = left
        self.abilities = abilities
        self.space = Workspace(graph, abilities)
        self.draft = Draft(self.space.table, abilities)
        self.region_count = 0

    def run(self) -> Plan:
        inputs = 0
        for position, node in enumerate(self.graph.nodes):
            if node.op in ("input", "parameter", "buffer", "constant"):
                self.space.add_leaf(node, inputs)
                inputs += node.op == "input"
            else:
                self._operation(node, position)
        self._close(len(self.graph.nodes))
        if self.graph.structure not in ("tensor", "tuple", "list"):
            raise Unplannable("forward returns something other than tensors, a tuple or a list of them")
        keys = [(result.node, result.index or 0) for result in self.graph.results]
        for key in keys:
            self._require_straight(self.space.known.get(key))
        results = tuple(left_to_torch.result(self.space, key) for key in keys)
        buffers = tuple(self.space.buffers.values())
        steps = prepared_first(self.space.steps, buffers) if self.rewrites else tuple(self.space.steps)
        steps = merged_epilogues(steps, results)
        plan = Plan(buffers, steps, results, self.graph.structure, inputs)
        return replace(plan, abilities=self.abilities, rewrites=self.rewrites)

    def _operation(self, node: GraphNode, position: int) -> None:
        if node.op == "getitem":
            self.space.known[(node.id, 0)] = self.space.known.get((node.args[0]["node"], node.args[1]))
            return
        name, reason = short_name(node.op), self.left.get(node.id)
        if name == "_assert_tensor_metadata":  # what `to` leaves behind for torch.export: true of the traced inputs
            return
        if name not in RUNNING and name not in REARRANGED:
            self._require_straight(*pending_operands(self.space, node))
        if reason is None:
            try:
                return self._own(node, name, position)
            except Unfusable as refusal:
                reason = str(refusal)
        self._require_straight(*pending_operands(self.space, node))
        self._store_operands(node, position)
        left_to_torch.leave(self.space, node, reason)

    def _own(self, node: GraphNode, name: str, position: int) -> None:
        """Plan a node for kernels of ours. Raises Unfusable."""
        if name in VIEWS:
            return self._view(node, name)
        if name == "broadcast_tensors":
            return self._already_broadcast(node)
        if name in REARRANGED:
            return self._rearrange(node, name)
        if name in TRIANGLES:
            return self._triangle(node, name)
        if name in MATMULS:
            return self._matmul(node, name, position)
        return self._fuse(node, name, position)

    def _require_straight(self, *operands: Any) -> None:
        """Start over with the operations left to PyTorch that rearranged these tensors."""
        for operand in operands:
            if isinstance(operand, Pending):
                raise _MustLeave(operand.node, "rearranges a dimension outside a running sum or product")

    def _view(self, node: GraphNode, name: str) -> None:
        tensor, *rest = self.space.arguments(node.args)
        if not isinstance(tensor, Source | Resident) or not node.outputs:
            raise Unfusable("is a view of no tensor of ours")
        self.space.check_dtypes(node, self.abilities.floats | self.abilities.reads)
        self.space.known[(node.id, 0)] = VIEWS[name](self.space.table, tensor, node.outputs[0].shape, rest)

    def _rearrange(self, node: GraphNode, name: str) -> None:
        tensor, *rest = self.space.arguments(node.args)
        kwargs = {key: self.space.argument(arg) for key, arg in node.kwargs.items() if arg is not None}
        self.space.check_dtypes(node)
        self.space.known[(node.id, 0)] = REARRANGED[name](self.space, node, tensor, *rest, **kwargs)

    def _already_broadcast(self, node: GraphNode) -> None:
        """Tensors broadcast against each other that have the same shape, as losses ask for."""
        operands = self.space.arguments(node.args[0])
        for operand, meta in zip(operands, node.outputs, strict=True):
            held = operand.shape if isinstance(operand, Source | Resident) else ()
            if [extent.literal for extent in held] != list(meta.shape):
                raise Unfusable("broadcasts several tensors")
        for index, operand in enumerate(operands):
            self.space.known[(node.id, index)] = operand

    def _matmul(self, node: GraphNode, name: str, position: int) -> None:
        self.space.check_dtypes(node, frozenset({"float32"}))
        self._store_operands(node, position)
        product: Product = MATMULS[name](*self.space.arguments(node.args))
        try:
            lies = placement(self.space.table, product)
        except Unfusable:  # no strides say how it lies: the product and its epilogue are worth a copy
            product = left_to_torch.straightened(self.space, product)
            lies = placement(self.space.table, product)
        lhs, rhs, *bias = left_to_torch.operands(self.space, product, lies)
        out = self.space.temporary(node.outputs[0].dtype, product.shape())
        self.space.steps.append(
            MatmulRegion(
                name=f"product_{sum(isinstance(step, MatmulRegion) for step in self.space.steps)}",
                lhs=lhs,
                rhs=rhs,
                bias=bias[0] if bias else None,
                rhs_transposed=lies.rhs_transposed,
                batched=lies.batched,
                product=out,
                fuses=(name,),
                lhs_transposed=lies.lhs_transposed,
                layouts=lies.layouts,
            )
        )
        self.space.publish((node.id, 0), out)

    def _triangle(self, node: GraphNode, name: str) -> None:
        """A product of which one triangle is kept: its kernel leaves the other one out."""
        tensor, *rest = self.space.arguments(node.args)
        self.space.steps[-1:] = [in_triangle(self.space, node, tensor, TRIANGLES[name], int(rest[0]) if rest else 0)]
        self.space.known[(node.id, 0)] = tensor

    def _store_operands(self, node: GraphNode, position: int) -> None:
        if self.space.reads_resident(node):
            self._close(position)

    # fusing into the open region --------------------------------------------------------------------------

    def _fuse(self, node: GraphNode, name: str, position: int) -> None:
        handler = _HANDLERS.get(name)
        if handler is None:
            raise Unfusable("no kernel of ours computes this operation")
        yields = frozenset({"int64"}) if name in LOCATES.values() else None
        self.space.check_dtypes(node, yields, CLASSES if name in BY_CLASS else frozenset())
        if name in STAGED and self._in_stages(node, name, position):
            return
        for attempt in (0, 1):
            before = self.draft.copy()
            try:
                self._apply(handler, node, position)
            except (Incompatible, Unfusable) as refusal:
                self.draft = before
                if isinstance(refusal, Unfusable) or attempt:
                    raise Unfusable(str(refusal)) from refusal
                self._close(position)
            else:
                self.draft.fuses.append(name)
                return

    def _apply(self, handler: Handler, node: GraphNode, position: int) -> None:
        """Add a node's values to the open region. Raises Incompatible where another region might hold them."""
        args = self.space.arguments(node.args)
        kwargs = {key: self.space.argument(arg) for key, arg in node.kwargs.items() if arg is not None}
        kwargs = _checked(handler, args, kwargs)
        result: Operand | RowLoss = handler(Ops(self.draft), *args, **kwargs)
        if len(node.outputs) > 1 and (node.id, 1) in self.space.outputs_read():
            name = LOCATES.get(short_name(node.op))
            if name is None:
                raise Unfusable("asks for more than its first result")
            self.space.known[(node.id, 1)] = REDUCTIONS[name](Ops(self.draft), *args, **kwargs)
        self.space.known[(node.id, 0)] = (
            self._over_rows(node, result, position) if isinstance(result, RowLoss) else result
        )

    def _over_rows(self, node: GraphNode, loss: RowLoss, position: int) -> Operand:
        """Keep the loss of each row in the open region and fold them in a fresh one."""
        partial = [(node.id, -1 - number) for number in range(len(loss.parts))]  # as in `_in_stages`
        for key, part in zip(partial, loss.parts, strict=True):
            self.space.known[key], self.space.last_use[key] = part, position + 1
        self.draft.fuses.append(f"{short_name(node.op)} of each row")
        self._close(position + 1)
        return loss.folded(Ops(self.draft), [self.space.known[key] for key in partial])

    def _in_stages(self, node: GraphNode, name: str, position: int) -> bool:
        """Fold each row in the open region and the rows in a fresh one, if the reduction spans both."""
        tensor, *rest = self.space.arguments(node.args)
        if not isinstance(tensor, Resident) or node.kwargs:
            return False
        found = stages(self.draft, tensor, reduced_dims(tensor, rest))
        if found is None:
            return False
        whole, first, second = found
        partial = (node.id, -1)  # no output of the graph has a negative number
        self.space.known[partial] = REDUCTIONS[name](Ops(self.draft), whole, first)
        self.space.last_use[partial] = position + 1
        self.draft.fuses.append(f"{name} of each row")
        self._close(position + 1)  # what this node was the last to read is not stored
        result = REDUCTIONS[name](Ops(self.draft), self.space.known[partial], second)
        if not isinstance(result, Resident):
            raise Unfusable("reduces a constant")
        self.space.known[(node.id, 0)] = reshaped(self.space.table, result, node.outputs[0].shape)
        self.draft.fuses.append(name)
        return True

    # closing the open region ------------------------------------------------------------------------------

    def _close(self, position: int) -> None:
        """Store what later operations read, append the region, open a new one."""
        draft, self.draft = self.draft, Draft(self.space.table, self.abilities)
        stores: list[Store] = []
        stored: dict[tuple[int, bool, str], Source] = {}
        for key, known in list(self.space.known.items()):
            tensor = known.tensor if isinstance(known, Pending) else known
            if not isinstance(tensor, Resident):
                continue
            if self.space.last_use.get(key, -1) < position:
                self.space.known[key] = None
                continue
            self._require_storable(draft, key, tensor)
            per_row, dtype = draft.is_per_row(tensor), self.space.dtype_of(key)
            first = stored.get((tensor.value, per_row, dtype))
            if first is None:
                first = self._stored(draft, tensor, dtype)
                stored[(tensor.value, per_row, dtype)] = first
                stores.append(Store(tensor.value, first.buffer, per_row, draft.stored_axes(tensor)))
            source = Source(first.buffer, tensor.shape, tensor.dims, first.memory)
            self.space.known[key] = replace(known, tensor=source) if isinstance(known, Pending) else source
        if stores:
            self.space.steps.append(closed_region(draft, stores, f"kernel_{self.region_count}"))
            self.region_count += 1

    def _require_storable(self, draft: Draft, key: Key, tensor: Resident) -> None:
        node = next(node for node in self.graph.nodes if node.id == key[0])
        if getattr(draft.values[tensor.value], "op", None) in BOOLEAN:
            raise _MustLeave(_producer(self.graph, node), "its booleans are read outside a kernel")
        if not draft.storable(tensor):
            raise _MustLeave(node.id, "its result would not lie in memory in the order the kernel runs")

    def _stored(self, draft: Draft, tensor: Resident, dtype: str) -> Source:
        """A new buffer for a value, laid out as the tensor first asked for."""
        name = self.space.temporary(dtype, tensor.shape)
        memory = tuple(axis for group in tensor.dims for axis in draft.table.expand(group))
        return Source(name, tensor.shape, tensor.dims, memory)


def _producer(graph: TaskGraph, node: GraphNode) -> str:
    """The comparison behind a chain of views."""
    while short_name(node.op) in VIEWS:
        node = next(n for n in graph.nodes if n.id == node.args[0]["node"])
    return node.id


def _checked(handler: Handler, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments that bind to a handler. Raises Unfusable where ATen's call has more than it knows."""
    if kwargs.get("dtype") in ({"dtype": "float32"}, {"dtype": "bfloat16"}, {"dtype": "float16"}, None):
        kwargs = {key: value for key, value in kwargs.items() if key != "dtype"}
    try:
        inspect.signature(handler).bind(None, *args, **kwargs)
    except TypeError as error:
        raise Unfusable(f"is called with arguments we do not handle ({error})") from error
    return kwargs
