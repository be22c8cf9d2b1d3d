"""What a traced reference does as it is written, in operations and bytes; `runners/facts/tracing.py` calls it.

The stated work: `least_work.py` knows what of it an honest kernel can do without.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from everforge.model.graph import GraphNode, Ref, TensorMeta
from everforge.runners.facts.dataflow import LEAVES, Flow, argument, is_convolution, references, short_name
from everforge.runners.facts.operations import LOOKUPS

_SIZES = {"float64": 8, "int64": 8, "complex64": 8, "complex128": 16, "float32": 4, "int32": 4}
_SIZES |= {"float16": 2, "bfloat16": 2, "int16": 2}  # all others are bytes


def flops_of(nodes: Sequence[GraphNode]) -> float:
    """Multiplications and additions of matrix products and convolutions: 2·M·N·K each."""
    flow = Flow(nodes)
    return float(sum(node_flops(node, flow) for node in nodes))


def bytes_read_of(nodes: Sequence[GraphNode]) -> float:
    """Inputs and parameters that are read, each moved once; a lookup counts what it reads."""
    flow = Flow(nodes)
    used = [node for node in nodes if node.op in LEAVES and flow.readers[node.id] and node.outputs]
    return sum((_bytes_read(node, flow.readers[node.id]) for node in used), 0.0)


def bytes_written_of(nodes: Sequence[GraphNode], results: Sequence[Ref]) -> float:
    """Outputs, each moved once."""
    outputs = {node.id: node.outputs for node in nodes}
    byte_count = 0.0
    for name, index in {(result.node, result.index) for result in results}:
        chosen = outputs[name] if index is None else outputs[name][index : index + 1]
        byte_count += sum(stored_bytes(meta) for meta in chosen)
    return byte_count


def _bytes_read(leaf: GraphNode, readers: Sequence[GraphNode]) -> float:
    """The whole tensor, unless every reader only looks some of it up."""
    whole = stored_bytes(leaf.outputs[0])
    looked_up = 0.0
    for reader in readers:
        is_table = list(references(reader.args[:1])) == [leaf.id]
        if short_name(reader) not in LOOKUPS or not is_table or not reader.outputs:
            return whole
        looked_up += stored_bytes(reader.outputs[0])
    return min(whole, looked_up)


def stored_elements(meta: TensorMeta) -> int:
    """Elements of memory behind a tensor; an expanded dimension has stride 0 and is stored once."""
    if 0 in meta.shape:
        return 0
    return prod(size for size, stride in zip(meta.shape, meta.strides, strict=True) if stride != 0)


def element_bytes(dtype: str) -> int:
    """Bytes of one element of a dtype by name."""
    return _SIZES.get(dtype, 1)


def stored_bytes(meta: TensorMeta) -> float:
    """Bytes of memory behind a tensor."""
    return float(stored_elements(meta) * element_bytes(meta.dtype))


def node_flops(node: GraphNode, flow: Flow) -> float:
    """2·(outputs)·(length of each dot product) of one node; 0 for what is no product."""
    shapes = flow.shapes(node)
    if not node.outputs or len(shapes) < 2:
        return 0.0
    name, outputs = short_name(node), node.outputs[0].elements
    if name in ("linear", "mm", "bmm", "matmul", "mv", "dot"):
        return 2.0 * outputs * shapes[0][-1]
    if name in ("addmm", "baddbmm", "addmv") and len(shapes) > 2:
        return 2.0 * outputs * shapes[1][-1]
    if name == "addbmm" and len(shapes) > 2:  # sums the products of a batch
        return 2.0 * outputs * shapes[1][0] * shapes[1][-1]
    if name == "einsum":
        return _einsum_flops(node, shapes)
    if name == "scaled_dot_product_attention" and len(shapes) > 2:
        return 2.0 * prod(shapes[0]) * shapes[1][-2] + 2.0 * outputs * shapes[1][-2]
    return convolution_flops(node, shapes) if is_convolution(node) else 0.0


def _einsum_flops(node: GraphNode, shapes: Sequence[tuple[int, ...]]) -> float:
    """Two operands: one multiplication and one addition for every combination of the indices; else not counted."""
    equation: Any = node.args[0] if node.args else ""
    terms = str(equation).replace(" ", "").split("->")[0].split(",")
    if len(terms) != 2 or any(len(term) != len(shape) for term, shape in zip(terms, shapes, strict=False)):
        return 0.0
    sizes = {
        index: size for term, shape in zip(terms, shapes, strict=True) for index, size in zip(term, shape, strict=True)
    }
    contracted = len(set(terms[0]) & set(terms[1])) and prod(sizes.values()) > node.outputs[0].elements
    return 2.0 * prod(sizes.values()) if contracted else 0.0


def is_transposed(node: GraphNode) -> bool:
    """Whether a convolution is a transposed one."""
    return "transpose" in node.op or (
        short_name(node) == "convolution" and bool(argument(node, 6, "transposed", False))
    )


def convolution_flops(node: GraphNode, shapes: Sequence[tuple[int, ...]]) -> float:
    """Weight is (out, in/groups, *kernel); a transposed one is (in, out/groups, *kernel), used per input."""
    image, weight = shapes[0], shapes[1]
    positions = prod(image) if is_transposed(node) else node.outputs[0].elements
    return 2.0 * positions * prod(weight[1:])
