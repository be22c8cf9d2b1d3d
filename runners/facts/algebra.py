"""Algebraic shortcuts of a task: ways to its result with fewer operations than it states, proven from its graph.

A sum over the columns of a product is a product with a vector; a chain of products can be bracketed the other way;
zeros of a triangle need no multiplying. Taking one is legal, but the speedup is not the kernel's, so the task's notes
tell, and a time that only a shortcut explains is labelled. Called by `sessions.py`.
"""

from collections.abc import Iterator, Mapping
from math import prod

from everforge.model.graph import GraphNode, Shortcut, TaskGraph
from everforge.runners.facts.dataflow import Flow, factors, is_convolution, operands, short_name
from everforge.runners.facts.linearity import Dims, Journey, Kind, dims_of, journey_of
from everforge.runners.facts.operations import VIEWS
from everforge.runners.facts.tracing_cost import is_transposed, node_flops
from everforge.runners.facts.zero_blocks import Zeros, kept_flops

# A shortcut that saves less than a tenth of a product cannot be told from a good kernel.
_WORTH = 0.9
_BRACKETED = ("linear", "mm", "bmm", "matmul", "addmm", "baddbmm")


def shortcuts(graph: TaskGraph, zeros: Mapping[str, Zeros] | None = None) -> tuple[Shortcut, ...]:
    """Every shortcut found in a graph. `zeros`: structure seen in inputs, by node."""
    flow = Flow(graph.nodes)
    found = [*_collapses(graph, flow), *_brackets(graph, flow), *_lookups(flow), *_zero_blocks(flow, zeros or {})]
    stated = {node.id: node_flops(node, flow) for node in graph.nodes}
    return tuple(
        Shortcut(
            reason=reason,
            flops=graph.flops + sum(kept - stated[name] for name, kept in products.items()),
            products=products,
            read_shares=read_shares,
        )
        for reason, products, read_shares in found
    )


Found = tuple[str, dict[str, float], dict[str, float]]


def _live(flow: Flow) -> Iterator[GraphNode]:
    """Products that depend on an input; the others can be made at load anyway."""
    for node in flow.nodes.values():
        if node.op.startswith("aten.") and node.id not in flow.static and node_flops(node, flow) > 0:
            yield node


def _collapses(graph: TaskGraph, flow: Flow) -> Iterator[Found]:
    """Products whose rows, columns or places are only ever summed."""
    results = frozenset(result.node for result in graph.results)
    for node in _live(flow):
        journey, dims = journey_of(node, flow, results), dims_of(node, flow)
        if journey is None or dims is None or not journey.ends:
            continue
        kept = node_flops(node, flow) * _kept_share(node, flow, dims, journey)
        if kept < _WORTH * node_flops(node, flow):
            yield _collapse_reason(node, dims, journey), {node.id: kept}, _unread(node, flow, dims, journey)


def _count(dims: Dims, kind: Kind) -> int:
    return prod(factor.size for dim in dims for factor in dim if factor.kind is kind)


def _kept_share(node: GraphNode, flow: Flow, dims: Dims, journey: Journey) -> float:
    """Share of a product's FLOPs that is left once what is summed is summed beforehand."""
    share = 1.0
    # Sums over a batch of products are one long product: nothing is saved. A convolution is linear in its images.
    for kind in [kind for kind in Kind if kind is not Kind.BATCH or is_convolution(node)]:
        stated = _count(dims, kind)
        if kind is Kind.PLACE and is_transposed(node):
            stated = prod(flow.shapes(node)[0][2:])
        share *= min(1.0, journey.left(kind) / stated) if stated else 1.0
    return share


def _collapse_reason(node: GraphNode, dims: Dims, journey: Journey) -> str:
    names = {
        Kind.BATCH: "images",
        Kind.ROW: "rows",
        Kind.COLUMN: "output features",
        Kind.PLACE: "places",
        Kind.OTHER: "elements",
    }
    summed = [
        f"{_count(dims, kind)} {names[kind]}" + (f" down to {left}" if left > 1 else "")
        for kind in Kind
        if (kind is not Kind.BATCH or is_convolution(node)) and (left := journey.left(kind)) < _count(dims, kind)
    ]
    vector = " (a matrix-vector product)" if not is_convolution(node) and journey.left(Kind.COLUMN) == 1 else ""
    return f"the {_called(node)} is only used summed over its {' and '.join(summed)}{vector}"


def _called(node: GraphNode) -> str:
    return "convolution" if is_convolution(node) else f"product {node.id}" if node.id else "product"


def _unread(node: GraphNode, flow: Flow, dims: Dims, journey: Journey) -> dict[str, float]:
    """Weights that can be summed at load, and what joins the product on its way."""
    columns, rows = _count(dims, Kind.COLUMN), _count(dims, Kind.ROW)
    share = journey.left(Kind.COLUMN) / columns if columns else 1.0
    if is_transposed(node) and journey.left(Kind.PLACE) < _count(dims, Kind.PLACE):
        share = 0.0  # its kernel can be summed, too
    weight = factors(node)[1]
    shares = dict.fromkeys([weight, *[name for name in operands(node) if name not in factors(node)]], share)
    shares |= {factors(node)[0]: journey.left(Kind.ROW) / rows if rows else 1.0}
    return _leaves_of(shares | dict.fromkeys(journey.joined, 0.0), flow)


def _leaves_of(shares: Mapping[str, float], flow: Flow) -> dict[str, float]:
    """Shares of the parameters behind nodes that are views of them."""
    behind = {flow.leaf_behind(name): share for name, share in shares.items() if name in flow.static and share < 1}
    return {leaf: share for leaf, share in behind.items() if leaf is not None}


def _brackets(graph: TaskGraph, flow: Flow) -> Iterator[Found]:
    """`(A · B) · C` as `A · (B · C)`, where that is less or can be made at load, and `C · (A · B)` as `(C · A) · B`."""
    results = frozenset(result.node for result in graph.results)
    inner: dict[str, int] = {}
    for node in _live(flow):
        journey, dims = journey_of(node, flow, results), dims_of(node, flow)
        if journey is None or dims is None or is_convolution(node) or short_name(node) == "einsum":
            continue
        inner.setdefault(node.id, _length(node, flow))
        following, is_left = _next_product(dims, journey, flow)
        if following is None:
            continue
        if is_left:
            inner[following.id] = min(inner[node.id], _length(following, flow))
            kept, read_shares = _rebracketed(node, following, dims, inner[node.id], flow)
        else:
            kept, read_shares = _from_the_left(following, dims, inner[node.id]), {}
        if kept < _WORTH * (node_flops(node, flow) + node_flops(following, flow)):
            reason = f"nothing but linear operations lies between the products {node.id} and {following.id}"
            yield reason, {node.id: 0.0, following.id: kept}, read_shares


def _length(node: GraphNode, flow: Flow) -> int:
    """Length of a product's dot products."""
    meta = flow.meta(factors(node)[0])
    return meta.shape[-1] if meta is not None and meta.shape else 1


def _next_product(dims: Dims, journey: Journey, flow: Flow) -> tuple[GraphNode | None, bool]:
    """The only reader of a product's whole result, if it is a product too, and whether it reads it as its left."""
    if len(journey.ends) != 1:
        return None, False
    reader, name, reached = journey.ends[0]
    if reader is None or short_name(reader) not in _BRACKETED or dims_of(reader, flow) is None:
        return None, False
    if len(factors(reader)) < 2 or len(set(factors(reader))) < 2 or not _is_whole(reached, dims):
        return None, False
    is_left = factors(reader)[0] == name
    # The weight of `linear` is read across, which no bracket changes.
    return (None, False) if not is_left and short_name(reader) == "linear" else (reader, is_left)


def _is_whole(reached: Dims, dims: Dims) -> bool:
    """Whether the last dimension still holds all columns of a product and nothing else, and the others all rows."""
    if len(reached) < 2:
        return False
    columns = all(factor.kind is Kind.COLUMN for factor in reached[-1])
    return columns and all(_count(reached, kind) == _count(dims, kind) for kind in (Kind.COLUMN, Kind.ROW))


def _from_the_left(following: GraphNode, dims: Dims, inner: int) -> float:
    """FLOPs of `C · (A · B)` as `(C · A) · B`."""
    *batch, rows, columns = following.outputs[0].shape
    return 2.0 * prod(batch) * rows * inner * (_count(dims, Kind.ROW) + columns)


def _rebracketed(
    node: GraphNode, following: GraphNode, dims: Dims, inner: int, flow: Flow
) -> tuple[float, dict[str, float]]:
    """FLOPs of both products bracketed the other way, and the shares of their weights that are then read."""
    last = dims_of(following, flow) or ()
    rows = prod(following.outputs[0].shape[:-1])
    columns, across = _count(dims, Kind.COLUMN), _count(last, Kind.COLUMN)
    kept = 2.0 * rows * inner * across
    weights = [factors(node)[1], factors(following)[1]]
    if all(name in flow.static for name in weights):
        share = min(1.0, inner * across / (inner * columns + columns * across))
        return kept, _leaves_of(dict.fromkeys(weights, share), flow)
    batch = max(_count(dims, Kind.BATCH), _count(last, Kind.BATCH))
    return kept + 2.0 * batch * inner * columns * across, {}


def _lookups(flow: Flow) -> Iterator[Found]:
    """Products of rows of a table with weights: both are known at load, so the table can hold the products."""
    for node in _live(flow):
        if is_convolution(node) or len(factors(node)) != 2 or factors(node)[1] not in flow.static:
            continue
        source: str | None = factors(node)[0]
        while source is not None and short_name(flow.nodes[source]) in VIEWS:
            source = flow.operand(flow.nodes[source], 0)
        if source is None or short_name(flow.nodes[source]) != "embedding":
            continue
        if operands(flow.nodes[source])[0] in flow.static:
            reason = f"the product {node.id} multiplies rows of a fixed table with fixed weights"
            yield reason, {node.id: 0.0}, _leaves_of({factors(node)[1]: 0.0}, flow)


def _zero_blocks(flow: Flow, zeros: Mapping[str, Zeros]) -> Iterator[Found]:
    """Products with triangular and diagonal matrices."""
    for node in _live(flow):
        found = kept_flops(node, flow, zeros)
        if found is not None and found[0] < _WORTH * node_flops(node, flow):
            matrices = " and ".join(f"{'an' if shape[0] == 'u' else 'a'} {shape} matrix" for shape in found[1])
            yield f"the product {node.id} has {matrices} as operand", {node.id: found[0]}, {}
