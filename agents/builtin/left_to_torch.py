"""Steps that PyTorch runs in a plan: operations no kernel of ours computes, and views made into tensors.

`planner.py` calls it for what it could not fuse, and for the results.
"""

from dataclasses import replace
from typing import Any

from everforge.agents.builtin.axes import Number, Source, Unfusable
from everforge.agents.builtin.layouts import Placement
from everforge.agents.builtin.matmuls import Product
from everforge.agents.builtin.plan import Buffer, BufferArg, DeviceOf, Size, TorchStep
from everforge.agents.builtin.workspace import Key, Workspace, short_name
from everforge.model.graph import GraphNode

_PLACEMENT = ("layout", "memory_format", "pin_memory", "non_blocking")
"""Arguments that say how a result lies in memory; every buffer of a plan is made contiguous anyway."""


class Unplannable(Exception):  # an answer: there is no candidate for such a graph
    """No candidate can be written for this graph; the text says why."""


def leave(space: Workspace, node: GraphNode, reason: str) -> None:
    """Add a TorchStep for a node; all it reads is in memory already. Raises Unplannable for what is not ATen's."""
    if not node.op.startswith("aten."):
        raise Unplannable(f"{node.op} is no ATen operation, so no candidate can call it")
    args = tuple(_argument(space, arg) for arg in node.args)
    named = {key: arg for key, arg in node.kwargs.items() if arg is not None and key not in _PLACEMENT}
    kwargs = tuple((key, _argument(space, arg)) for key, arg in named.items())
    op = node.op
    if short_name(op) in ("view", "reshape", "_unsafe_view", "flatten"):
        op, args, kwargs = "aten.reshape.default", (args[0], _reshaped_sizes(space, node)), ()
    space.steps.append(TorchStep(op, args, kwargs, _outputs(space, node), reason))


def result(space: Workspace, key: Key) -> str:
    """The buffer of a result. Raises Unplannable if it is no tensor."""
    operand = space.known.get(key)
    if not isinstance(operand, Source):
        raise Unplannable(f"the result {key[0]} is no tensor")
    return materialised(space, operand)


def operands(space: Workspace, product: Product, lies: Placement) -> tuple[str, ...]:
    """Buffers of a product's operands, seen with the extents its kernels take. Raises Unfusable for a moved bias."""
    found = []
    for operand, turned in ((product.lhs, lies.lhs_transposed), (product.rhs, lies.rhs_transposed)):
        *batch, rows, columns = operand.shape
        wanted = (*batch, columns, rows) if turned else operand.shape
        own = [size.literal for size in space.buffers[operand.buffer].shape]
        if lies.layouts is not None or own == [size.literal for size in wanted]:
            found.append(operand.buffer)
        else:
            found.append(_view(space, operand.buffer, "aten.reshape.default", (wanted,), wanted))
    return (*found, *([space.in_memory(product.bias)] if product.bias is not None else []))


def straightened(space: Workspace, product: Product) -> Product:
    """The product of copies of its operands that lie in the order of their dimensions."""
    found: list[Source] = []
    for operand in (product.lhs, product.rhs):
        space.publish((operand.buffer, -2), materialised(space, operand))  # no node of the graph has that output
        copied = space.known.pop((operand.buffer, -2))
        found.append(copied if isinstance(copied, Source) else operand)
    return replace(product, lhs=found[0], rhs=found[1])


def materialised(space: Workspace, source: Source) -> str:
    """A buffer with the dimensions of a source: its own, or a permuted, reshaped, expanded copy of it."""
    try:
        return space.in_memory(source)
    except Unfusable:
        pass
    memory = list(space.table.expand(source.memory))
    flat = [axis for group in source.dims for axis in space.table.expand(group)]
    atoms = tuple(space.table.sizes[axis] for axis in memory)
    name = _view(space, source.buffer, "aten.reshape.default", (atoms,), atoms)
    unused = [axis for axis in memory if axis not in flat]
    order = tuple(memory.index(axis) for axis in [*unused, *flat])
    if order != tuple(sorted(order)):
        sizes = tuple(atoms[i] for i in order)
        name = _view(space, name, "aten.permute.default", (order,), sizes)
    narrow = tuple(e if group else Size.constant(1) for e, group in zip(source.shape, source.dims, strict=True))
    name = _view(space, name, "aten.reshape.default", (narrow,), narrow)
    if narrow != source.shape:
        name = _view(space, name, "aten.expand.default", (source.shape,), source.shape)
    return name


def _outputs(space: Workspace, node: GraphNode) -> tuple[str, ...]:
    """A new buffer for every tensor a step yields; its extents are read off it at run time."""
    names = []
    for index, meta in enumerate(node.outputs):
        name = space.temporary(meta.dtype, None)
        shape = tuple(Size(size, ((name, i),)) for i, size in enumerate(meta.shape))
        space.buffers[name] = Buffer(name, shape, meta.dtype, "temporary")
        space.publish((node.id, index), name)
        names.append(name)
    return tuple(names)


def _reshaped_sizes(space: Workspace, node: GraphNode) -> tuple[Size, ...]:
    """The extents a reshape asks for, as far as they follow from its input's; constants otherwise."""
    literals = node.outputs[0].shape
    source = space.argument(node.args[0])
    if isinstance(source, Source) and literals and source.shape and literals[0] == source.shape[0].literal:
        return (source.shape[0], *(Size.constant(size) for size in literals[1:]))
    return tuple(Size.constant(size) for size in literals)


def _argument(space: Workspace, arg: Any) -> Any:
    """An argument as a TorchStep has it. Raises Unplannable for what has no form in source."""
    if isinstance(arg, dict) and "node" in arg:
        return _viewed(space, arg)
    if isinstance(arg, dict) and "device" in arg:
        return DeviceOf(next(iter(space.buffers)))
    if isinstance(arg, dict) and "object" in arg:
        raise Unplannable(f"an argument {arg['object']} has no form in source")
    if isinstance(arg, list | tuple):
        return tuple(_argument(space, item) for item in arg)
    return float(arg["float"]) if isinstance(arg, dict) and "float" in arg else arg


def _viewed(space: Workspace, ref: dict[str, Any]) -> BufferArg | float:
    """The buffer of a tensor; one seen through views gets steps that make the view."""
    operand = space.known.get((ref["node"], ref["index"] or 0))
    if isinstance(operand, Number):
        return operand.number
    if not isinstance(operand, Source):
        raise Unplannable(f"{ref['node']} is no tensor")
    return BufferArg(materialised(space, operand))


def _view(space: Workspace, name: str, op: str, args: tuple[Any, ...], shape: tuple[Size, ...]) -> str:
    for step in space.steps:
        if isinstance(step, TorchStep) and (step.op, step.args) == (op, (BufferArg(name), *args)) and step.outputs[0]:
            return step.outputs[0]  # two products of one operand see it alike
    out = space.temporary(space.buffers[name].dtype, shape)
    space.steps.append(TorchStep(op, (BufferArg(name), *args), (), (out,), "a view, nothing is computed"))
    return out
