"""What a traced reference must at least do, in operations and bytes; `runners/tracing.py` calls it."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from everforge.model.graph import GraphNode, Ref, TensorMeta

_SIZES = {"float64": 8, "int64": 8, "complex64": 8, "float32": 4, "int32": 4}
_SIZES |= {"float16": 2, "bfloat16": 2, "int16": 2}  # all others are bytes
_LEAVES = ("input", "parameter", "buffer", "constant")
_LOOKUPS = ("embedding", "gather", "index_select", "index", "take")


def flops_of(nodes: Sequence[GraphNode]) -> float:
    """Multiplications and additions of matrix products and convolutions: 2·M·N·K each."""
    metas = {node.id: node.outputs for node in nodes}
    return float(sum(_node_flops(node, metas) for node in nodes))


def bytes_of(nodes: Sequence[GraphNode], results: Sequence[Ref]) -> float:
    """Inputs and parameters that are read, and outputs, each moved once; a lookup counts what it reads."""
    byte_count = 0.0
    readers: dict[str, list[GraphNode]] = {}
    for node in nodes:
        for name in _references(list(node.args) + list(node.kwargs.values())):
            readers.setdefault(name, []).append(node)
    for node in nodes:
        if node.op in _LEAVES and node.id in readers and node.outputs:
            byte_count += _bytes_read(node, readers[node.id])
    written = {(result.node, result.index) for result in results}
    by_id = {node.id: node for node in nodes}
    for name, index in written:
        outputs = by_id[name].outputs
        byte_count += sum(_size(meta) for meta in (outputs if index is None else outputs[index : index + 1]))
    return byte_count


def _bytes_read(leaf: GraphNode, readers: Sequence[GraphNode]) -> float:
    """The whole tensor, unless every reader only looks some of it up."""
    whole = _size(leaf.outputs[0])
    looked_up = 0.0
    for reader in readers:
        is_table = list(_references(reader.args[:1])) == [leaf.id]
        if _short_name(reader) not in _LOOKUPS or not is_table or not reader.outputs:
            return whole
        looked_up += _size(reader.outputs[0])
    return min(whole, looked_up)


def _size(meta: TensorMeta) -> float:
    """Bytes of memory behind a tensor; an expanded dimension has stride 0 and is stored once."""
    stored = prod(size for size, stride in zip(meta.shape, meta.strides, strict=True) if stride != 0)
    return float(stored * _SIZES.get(meta.dtype, 1))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "node" in value:
            yield value["node"]
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _references(item)


def _short_name(node: GraphNode) -> str:
    """`aten.linear.default` → `linear`; the names torch.fx gives keep their last part."""
    parts = node.op.split(".")
    return parts[1] if parts[0] == "aten" and len(parts) > 1 else parts[-1]


def _node_flops(node: GraphNode, metas: dict[str, tuple[TensorMeta, ...]]) -> float:
    """2·(outputs)·(length of each dot product) of one node; 0 for what is no product."""
    operands = [metas.get(name, ())[:1] for name in _references(node.args)]
    shapes = [meta[0].shape for meta in operands if meta]
    if not node.outputs or len(shapes) < 2:
        return 0.0
    name, outputs = _short_name(node), node.outputs[0].elements
    if name in ("linear", "mm", "bmm", "matmul", "mv", "dot"):
        return 2.0 * outputs * shapes[0][-1]
    if name in ("addmm", "baddbmm", "addmv", "addbmm") and len(shapes) > 2:
        return 2.0 * outputs * shapes[1][-1]
    if name == "scaled_dot_product_attention" and len(shapes) > 2:
        return 2.0 * prod(shapes[0]) * shapes[1][-2] + 2.0 * outputs * shapes[1][-2]
    if name.startswith("conv") or name == "convolution":
        return _convolution_flops(node, shapes)
    return 0.0


def _convolution_flops(node: GraphNode, shapes: Sequence[tuple[int, ...]]) -> float:
    """Weight is (out, in/groups, *kernel); a transposed one is (in, out/groups, *kernel), used per input."""
    image, weight = shapes[0], shapes[1]
    general = _short_name(node) == "convolution" and len(node.args) > 6
    transposed = "transpose" in node.op or (general and bool(node.args[6]))
    positions = prod(image) if transposed else node.outputs[0].elements
    return 2.0 * positions * prod(weight[1:])
