"""The least work an honest kernel can do for a task, without touching its algebra: what a floor may rest on.

Less than the stated work of `tracing_cost.py` wherever kernels are known to save some: weights kept in a shorter
dtype, values prepared at load, results that stay in a cache, causal halves, padding, transformed convolutions.
`roofline.py` turns it into time; `algebra.py` holds what goes further.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from everforge.model.graph import GraphNode, TaskGraph
from everforge.model.precision import Precision
from everforge.runners.facts.dataflow import LEAVES, Flow, argument, factors, is_convolution, operands, short_name
from everforge.runners.facts.demand import needed_shares
from everforge.runners.facts.operations import NORMS, PARTS, PRODUCTS, SPLITS, VIEWS, ZEROING
from everforge.runners.facts.tracing_cost import convolution_flops, element_bytes, node_flops, stored_elements
from everforge.runners.facts.windows import convolution_window
from everforge.runners.facts.zero_blocks import is_explained

# Strassen's first level does 7 products of halves instead of 8; a second one has not paid on any device we know of.
_STRASSEN = 7 / 8
_STRASSEN_FLOPS = 2.0 * 512**3  # below this size the additions cost more than the product saves
# A convolution by FFT multiplies half a spectrum of complex numbers (3 products and as many additions each) for
# every output and pair of channels, however large its kernel; Winograd's F(4×4, 3×3) stays above that with 4.5.
_TRANSFORM_FLOPS = 3.0
_LOWERED = (Precision.FP16, Precision.BF16)


@dataclass(frozen=True)
class LeastWork:
    """FLOPs of products, and bytes that have to come from memory and go to it."""

    flops: float
    bytes_read: float
    bytes_written: float


def least_work(
    graph: TaskGraph,
    policy: Precision,
    dense: Mapping[str, float] | None = None,
    products: Mapping[str, float] | None = None,
    read_shares: Mapping[str, float] | None = None,
) -> LeastWork:
    """What is left of the task's work when everything is saved that a kernel may save.

    `dense`: for inputs that hold zeros or repeat themselves, the share that does not (`input_structure.py`).
    `products`, `read_shares`: upper bounds from shortcuts, by node.
    """
    flow = Flow(graph.nodes)
    shares = needed_shares(graph, flow)
    sparse = _maybe_sparse(graph, dense or {})
    flops = _least_flops(graph, flow, shares, sparse)
    for name, bound in (products or {}).items():
        flops[name] = min(flops.get(name, 0.0), bound)
    for name, bound in [*(dense or {}).items(), *(read_shares or {}).items()]:
        shares[name] = min(shares.get(name, 0.0), bound)
    read = sum((shares[leaf.id] * _least_bytes(leaf, policy) for leaf in graph.nodes if leaf.op in LEAVES), 0.0)
    return LeastWork(sum(flops.values(), 0.0), read, _written(graph, flow))


def _least_bytes(leaf: GraphNode, policy: Precision) -> float:
    """Bytes of a leaf in memory. Nothing for what a kernel may hold in its code: constants, and tables of integers."""
    if not leaf.outputs or leaf.op == "constant":
        return 0.0
    meta = leaf.outputs[0]
    if leaf.op == "buffer" and not meta.dtype.startswith(("float", "bfloat")):
        return 0.0
    size = element_bytes(meta.dtype)
    if leaf.op != "input" and meta.dtype.startswith("float"):
        size = min(size, 2 if policy in _LOWERED else 4)
    return float(stored_elements(meta) * size)


def _written(graph: TaskGraph, flow: Flow) -> float:
    """Bytes of new results. None for a view of an input, for what is known at load, for two views of one tensor."""
    sizes: dict[str, float] = {}
    for result in graph.results:
        root = result.node
        while _shares_memory(flow.nodes[root], flow) and (behind := flow.operand(flow.nodes[root], 0)):
            root = behind
        node, meta = flow.nodes[root], flow.meta(result.node)
        if node.op in LEAVES or root in flow.static or meta is None:
            continue
        outputs = flow.nodes[result.node].outputs
        chosen = outputs if result.index is None else outputs[result.index : result.index + 1]
        size = sum(float(stored_elements(each) * element_bytes(each.dtype)) for each in chosen)
        sizes[f"{root}/{result.index}"] = max(sizes.get(f"{root}/{result.index}", 0.0), size)
    return sum(sizes.values(), 0.0)


def _shares_memory(node: GraphNode, flow: Flow) -> bool:
    """Whether a node may be returned as a view of its first operand."""
    name, source = short_name(node), flow.operand(node, 0)
    if name == "getitem":
        return source is not None and short_name(flow.nodes[source]) in SPLITS
    return name in VIEWS or name in PARTS or name in SPLITS or name == "expand"


def _least_flops(graph: TaskGraph, flow: Flow, shares: Mapping[str, float], sparse: frozenset[str]) -> dict[str, float]:
    """Node to FLOPs, for products that must be made: not prepared at load, not computed twice, not full of zeros."""
    found: dict[str, float] = {}
    seen: dict[str, str] = {}
    for node in graph.nodes:
        twin = _twin_of(node, seen)
        if not node.op.startswith("aten.") or node.id in flow.static or twin != node.id:
            continue
        flops = _cheapest(node, flow) if all(is_explained(name, flow, sparse) for name in factors(node)) else 0.0
        if flops:
            distinct = prod(_distinct_share(flow, name) for name in factors(node))
            found[node.id] = flops * shares[node.id] * distinct
    return found


def _twin_of(node: GraphNode, seen: dict[str, str]) -> str:
    """The first node that does the same with the same operands: itself, unless the reference computes it twice."""
    if node.op in LEAVES:
        return node.id
    key = json.dumps([node.op, _renamed(node.args, seen), _renamed(node.kwargs, seen)], default=str)
    first = seen.setdefault(key, node.id)
    seen[f"/{node.id}"] = first
    return first


def _renamed(value: Any, seen: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        if "node" in value:
            return [seen.get(f"/{value['node']}", value["node"]), value.get("index")]
        return {key: _renamed(item, seen) for key, item in value.items()}
    return [_renamed(item, seen) for item in value] if isinstance(value, list | tuple) else value


def _distinct_share(flow: Flow, name: str) -> float:
    """Share of an operand that is not the same memory again: an expanded row needs to be multiplied once."""
    meta = flow.meta(name)
    return stored_elements(meta) / meta.elements if meta is not None and meta.elements else 1.0


def _cheapest(node: GraphNode, flow: Flow) -> float:
    """FLOPs of one product by the cheapest method in use."""
    stated = node_flops(node, flow)
    if is_convolution(node):
        stated = min(stated, _convolution(node, flow))
    elif short_name(node) == "scaled_dot_product_attention":
        return stated * _attended_share(node, flow)
    elif short_name(node) not in PRODUCTS:
        return 0.0
    return stated * (_STRASSEN if stated >= _STRASSEN_FLOPS else 1.0)


def _convolution(node: GraphNode, flow: Flow) -> float:
    """Directly, without the taps that fall on padding, or in another domain, whichever is less."""
    window, shapes = convolution_window(node, flow), flow.shapes(node)
    if window is None:
        return 0.0
    stated, kernel, places = convolution_flops(node, shapes), prod(window.kernel), prod(window.places)
    if not kernel * places:
        return 0.0
    # For every place and pair of channels: the stated 2 for each kernel element; a stride splits the image in phases.
    pairs = stated / (2.0 * kernel)
    return min(2.0 * pairs * window.taps() / places, _TRANSFORM_FLOPS * pairs * prod(window.strides))


def _attended_share(node: GraphNode, flow: Flow) -> float:
    """Pairs of a query and a key that count; none is claimed under a mask that may hide whole blocks."""
    if flow.operand(node, 3, "attn_mask") is not None:
        return 0.0
    if not argument(node, 5, "is_causal", False):
        return 1.0
    queries, keys = (shape[-2] for shape in flow.shapes(node)[:2])
    return sum(min(row + 1, keys) for row in range(queries)) / (queries * keys) if queries * keys else 0.0


def _maybe_sparse(graph: TaskGraph, dense: Mapping[str, float]) -> frozenset[str]:
    """Nodes that may hold zeros where a kernel can know of them, so that it need not multiply there.

    Where the zeros are in a triangle or a diagonal, `algebra.py` counts what is left.
    """
    found = {name for name, share in dense.items() if share < 1}
    for node in graph.nodes:
        name, read = short_name(node), operands(node)
        known = node.op in ("buffer", "constant")
        masked = known or (node.op.startswith("aten.") and name in ZEROING)
        if masked or any(other in found for other in (read[:1] if name in NORMS else read)):
            found.add(node.id)
    return frozenset(found)
