"""Products of several matrices, bracketed the cheaper way; two layers with nothing between them as one.

FLOPs decide: a rewrite must save a tenth of those of the products it touches, and what is made of parameters alone at
load costs none.
"""

from math import prod

from everforge.agents.builtin.graph_view import Found, GraphView
from everforge.agents.builtin.linear_layers import Layer, added, layer_of
from everforge.model.graph import GraphNode

_WORTH = 0.9  # of the FLOPs before


def merged_layers(view: GraphView) -> Found | None:
    """(x @ aᵀ + p) @ bᵀ + q as x @ (b @ a)ᵀ + (b @ p + q), where both weights are parameters and it is cheaper."""
    for node in view.calls("linear", "matmul", "mm", "addmm"):
        outer = layer_of(view, node)
        inner = layer_of(view, view.maker(outer.x)) if outer is not None else None
        if outer is None or inner is None or not view.has_one_reader(outer.x):
            continue
        if not view.is_state(outer.weight) or not view.is_state(inner.weight):
            continue
        if inner.depth * outer.width < _WORTH * outer.depth * (inner.depth + outer.width):
            return view.found(node, _merged(view, node, outer, inner), "two layers merged into one")
    return None


def _merged(view: GraphView, node: GraphNode, outer: Layer, inner: Layer) -> list[GraphNode]:
    weaver = view.weaver(node)
    first, second = inner.straight_weight(weaver), outer.straight_weight(weaver)
    weight = weaver.add("aten.matmul.default", (second, first), (outer.width, inner.depth))
    bias = outer.bias
    if inner.bias is not None:
        moved = weaver.add("aten.mul.Tensor", (second, inner.bias), (outer.width, outer.depth))
        moved = weaver.add("aten.sum.dim_IntList", (moved, [1]), (outer.width,))
        bias = added(weaver, moved, bias, outer.width)
    return weaver.finish("aten.linear.default", (inner.x, weight, bias) if bias is not None else (inner.x, weight))


def cheaper_bracket(view: GraphView) -> Found | None:
    """(a @ b) @ c as a @ (b @ c), or the other way round, where that multiplies less."""
    for node in view.calls("matmul", "mm"):
        first, second = node.args
        left, right = view.maker(first), view.maker(second)
        found = _from_the_right(view, node, left) or _from_the_left(view, node, right)
        if found is not None:
            return found
    return None


def _from_the_right(view: GraphView, node: GraphNode, inner: GraphNode | None) -> Found | None:
    """(a @ b) @ c: m·k·n + m·n·p multiplications, against k·n·p + m·k·p."""
    layer, outer = layer_of(view, inner), layer_of(view, node)
    if layer is None or outer is None or layer.bias is not None or not view.has_one_reader(node.args[0]):
        return None
    rows = prod((view.shape(layer.x) or ())[:-1])
    depth, middle, width = layer.depth, layer.width, outer.width
    prepared = view.is_state(layer.weight) and view.is_state(outer.weight)
    after = rows * depth * width + (0 if prepared else depth * middle * width)
    if after >= _WORTH * rows * middle * (depth + width):
        return None
    weaver = view.weaver(node)
    held = layer.weight
    if not layer.turned:
        held = weaver.add("aten.permute.default", (held, [1, 0]), (depth, middle))
    product = weaver.add("aten.matmul.default", (held, outer.weight), (depth, width))
    return view.found(
        node, weaver.finish("aten.matmul.default", (layer.x, product)), "products bracketed from the right"
    )


def _from_the_left(view: GraphView, node: GraphNode, inner: GraphNode | None) -> Found | None:
    """a @ (b @ c): k·n·p + m·k·p multiplications, against m·k·n + m·n·p."""
    layer, outer = layer_of(view, inner), layer_of(view, node)
    if layer is None or outer is None or layer.bias is not None or not view.has_one_reader(node.args[1]):
        return None
    if len(view.shape(layer.x) or ()) != 2 or view.is_state(node.args[1]):
        return None
    rows, depth = prod((view.shape(outer.x) or ())[:-1]), outer.depth
    middle, width = layer.depth, layer.width
    if rows * middle * (depth + width) >= _WORTH * depth * width * (middle + rows):
        return None
    weaver = view.weaver(node)
    product = weaver.add("aten.matmul.default", (outer.x, layer.x), (*(view.shape(outer.x) or ())[:-1], middle))
    held = layer.weight
    if not layer.turned:
        held = weaver.add("aten.permute.default", (held, [1, 0]), (middle, width))
    made = weaver.finish("aten.matmul.default", (product, held))
    return view.found(node, made, "products bracketed from the left")
