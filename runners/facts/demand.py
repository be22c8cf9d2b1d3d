"""How much of each tensor a result cannot do without, read backwards through a traced graph.

A floor that is held against a candidate must hold for every honest kernel: what is only sliced, looked up, masked
away or pooled over is not counted, and of an operation nobody described here nothing is. `least_work.py` asks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from everforge.model.graph import GraphNode, TaskGraph
from everforge.runners.facts.dataflow import Flow, argument, is_convolution, operands, short_name
from everforge.runners.facts.operations import (
    LOOKUPS,
    NORMS,
    PARTS,
    POINTWISE,
    POOLS,
    PRODUCTS,
    REDUCTIONS,
    SPLITS,
    VIEWS,
    WHOLE,
)
from everforge.runners.facts.tracing_cost import is_transposed
from everforge.runners.facts.windows import convolution_window, pool_window

Shares = dict[str, float]


def needed_shares(graph: TaskGraph, flow: Flow) -> Shares:
    """For each node, a share of its elements (0 to 1) that no implementation can leave out."""
    shares: Shares = dict.fromkeys(flow.nodes, 0.0)
    for result in graph.results:
        shares[result.node] = 1.0
    picked: set[tuple[str, Any]] = set()
    for node in reversed(graph.nodes):
        if shares[node.id] <= 0:
            continue
        if short_name(node) == "getitem":
            _pick(node, flow, shares, picked)
            continue
        for name, share in _asked_of(Need(node, flow, shares[node.id])).items():
            shares[name] = max(shares[name], share)
    return shares


def _pick(node: GraphNode, flow: Flow, shares: Shares, picked: set[tuple[str, Any]]) -> None:
    """A part of a split adds up with the other parts; one of several outputs asks for all of its operation."""
    source, index = flow.operand(node, 0), argument(node, 1, "index")
    if source is None or (source, index) in picked:
        return
    picked.add((source, index))
    origin, share = flow.nodes[source], shares[node.id]
    if short_name(origin) in SPLITS:
        total = sum(meta.elements for meta in origin.outputs)
        part = node.outputs[0].elements if node.outputs else 0
        shares[source] = min(1.0, shares[source] + (share * part / total if total else 0.0))
    else:
        shares[source] = max(shares[source], share)


@dataclass(frozen=True)
class Need:
    """A node of which a share is needed, and what that asks of its operands."""

    node: GraphNode
    flow: Flow
    share: float

    @property
    def operands(self) -> list[str]:
        """Names of all nodes it reads."""
        return operands(self.node)

    @property
    def all_or_none(self) -> float:
        """1 if all of it is needed; of a part of it, nothing more is claimed."""
        return float(self.share >= 1)

    def elements(self, name: str) -> int | None:
        """Elements of an operand."""
        meta = self.flow.meta(name)
        return None if meta is None else meta.elements


def _asked_of(need: Need) -> Shares:
    """What a need asks of the operands; nothing where the operation is not known."""
    node = need.node
    if not node.op.startswith("aten.") or not need.operands or not any(meta.elements for meta in node.outputs):
        return {}
    name = short_name(node)
    rule = _convolved if is_convolution(node) else _SPECIAL.get(name)
    if rule is None:
        rule = next((rule for family, rule in _FAMILIES if name in family), None)
    # What is prepared at load is read as it is by then; of its leaves only those it keeps the elements of are claimed.
    prepared = node.id in need.flow.static and rule not in (_pointwise, _same)
    return {} if rule is None or prepared else rule(need)


def _same(need: Need) -> Shares:
    return {need.operands[0]: need.share}


def _sliced(need: Need) -> Shares:
    """Each element of the result needs its own slice, so a share of them needs that share."""
    return _same(need)


def _all(need: Need) -> Shares:
    return dict.fromkeys(need.operands, need.all_or_none)


def _normalised(need: Need) -> Shares:
    return _all(need) | _same(need)


def _part(need: Need) -> Shares:
    source = need.operands[0]
    elements = need.elements(source)
    return {source: need.share * min(1.0, need.node.outputs[0].elements / elements) if elements else 0.0}


def _triangle(need: Need) -> Shares:
    return {need.operands[0]: need.all_or_none * kept_share(need.node)}


def _looked_up(need: Need) -> Shares:
    """The indices: every one may be the same, so that a single row of the table is read."""
    return dict.fromkeys(need.operands[1:], need.all_or_none)


def _chosen(need: Need) -> Shares:
    """The condition of `where`: what it hides need not be read."""
    return dict.fromkeys(need.operands[:1], need.all_or_none)


def _masked(need: Need) -> Shares:
    """The mask: what it hides need not be read."""
    return dict.fromkeys(need.operands[1:2], need.all_or_none)


def _convolved(need: Need) -> Shares:
    window = convolution_window(need.node, need.flow)
    if window is None:
        return {}
    # A transposed one with padding crops its result: what fell on the cropped edge alone is not needed.
    share = float(not any(window.padding)) if is_transposed(need.node) else window.covered_share()
    return _all(need) | {need.operands[0]: share * need.all_or_none}


def _pooled(need: Need) -> Shares:
    window = pool_window(need.node, need.flow)
    return {} if window is None else {need.operands[0]: window.covered_share() * need.all_or_none}


def _attended(need: Need) -> Shares:
    """Queries, keys and values; under a mask whole blocks may go unread, and so may keys behind a causal diagonal."""
    shapes = need.flow.shapes(need.node)
    if need.flow.operand(need.node, 3, "attn_mask") is not None or len(shapes) < 3:
        return {}
    query, key, value = need.operands[:3]
    unread = argument(need.node, 5, "is_causal", False) and shapes[1][-2] > shapes[0][-2]
    asked = 0.0 if unread else need.all_or_none
    return {key: asked, value: asked, query: need.all_or_none}


def _pointwise(need: Need) -> Shares:
    """Operands of the result's size are needed as much as it is; broadcast ones whole or not at all.

    A product with a mask, or with the number 0, needs nothing of its other operand where the mask is 0. What is
    prepared at load is one tensor by then, of which this much is read.
    """
    node, flow = need.node, need.flow
    names = list(dict.fromkeys(need.operands))
    masks = [name for name in names if _is_mask(flow, name)]
    if short_name(node) == "mul" and (masks or 0 in node.args[1:]):
        return dict.fromkeys(masks, need.all_or_none)
    same = [name for name in names if need.elements(name) == node.outputs[0].elements]
    if node.id in flow.static:
        return dict.fromkeys(same[:1], need.share)
    return dict.fromkeys(names, need.all_or_none) | dict.fromkeys(same, need.share)


def _is_mask(flow: Flow, name: str) -> bool:
    """Whole numbers, truth values and what is known beforehand may be zeros in blocks a kernel knows of."""
    meta, node = flow.meta(name), flow.nodes[name]
    whole = meta is not None and not meta.dtype.startswith(("float", "bfloat", "complex"))
    return whole or node.op in ("buffer", "constant")


def kept_share(node: GraphNode) -> float:
    """Share of a matrix that `tril` or `triu` keeps."""
    rows, columns = node.outputs[0].shape[-2:]
    kept = sum(kept_in_rows(short_name(node), rows, columns, int(argument(node, 1, "diagonal", 0))))
    return kept / (rows * columns) if rows * columns else 0.0


def kept_in_rows(name: str, rows: int, columns: int, diagonal: int) -> list[int]:
    """How many elements of each row of a matrix `tril` or `triu` keeps."""
    if name == "triu":
        return [columns - min(columns, max(0, row + diagonal)) for row in range(rows)]
    return [min(columns, max(0, row + diagonal + 1)) for row in range(rows)]


Rule = Callable[[Need], Shares]
_SPECIAL: dict[str, Rule] = {
    "expand": _all,
    "tril": _triangle,
    "triu": _triangle,
    "where": _chosen,
    "masked_fill": _masked,
    "scaled_dot_product_attention": _attended,
}
_FAMILIES: tuple[tuple[frozenset[str], Rule], ...] = (
    (POINTWISE, _pointwise),
    (VIEWS, _same),
    (REDUCTIONS | SPLITS, _sliced),
    (WHOLE | PRODUCTS, _all),
    (NORMS, _normalised),
    (PARTS, _part),
    (LOOKUPS, _looked_up),
    (POOLS, _pooled),
)
