"""Scales, shifts and batch norms in evaluation mode as part of the weights before or behind them.

What they do along the channels of a product is the same as another weight and another bias, made once at load. That
saves a convolution a second pass over its result, and a product of something scaled the pass that scales it; what
stands after a product may fold further.
"""

from everforge.agents.builtin.affine import AFFINE, Affine, Vectors, affines, varies_along
from everforge.agents.builtin.graph_view import Found, GraphView
from everforge.agents.builtin.linear_layers import Layer, added, layer_of
from everforge.agents.builtin.weaving import Weaver, named, short_op
from everforge.model.graph import GraphNode

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


def into_product(view: GraphView) -> Found | None:
    """A product or convolution and what scales or shifts its channels, as one with another weight and bias."""
    for node in view.calls(*AFFINE):
        for affine in affines(view, node):
            maker = view.maker(affine.x)
            if maker is None or not view.has_one_reader(affine.x):
                continue
            layer, what = layer_of(view, maker), f"{affine.what} folded into the {_place(affine)}"
            if layer is not None and view.is_state(layer.weight) and varies_along(view, affine, node, -1):
                return view.found(node, _layer_with(view.weaver(node), affine, layer), what)
            if short_op(maker) in _CONVOLUTIONS and _is_ours(view, maker) and varies_along(view, affine, node, 1):
                return view.found(node, _convolution_with(view.weaver(node), affine, maker), f"{what} of a convolution")
    return None


def from_operand(view: GraphView) -> Found | None:
    """A product of what was scaled, shifted or normalised along its columns, as one of what was there before."""
    for node in view.calls("linear", "matmul", "mm", "addmm"):
        layer = layer_of(view, node)
        if layer is None or not view.is_state(layer.weight) or not view.has_one_reader(layer.x):
            continue
        before = view.nodes[named(layer.x) or ""]
        for affine in affines(view, before) if before.outputs else ():
            if not view.is_state(affine.x) and varies_along(view, affine, before, -1):
                made = _layer_after(view.weaver(node), affine, layer)
                return view.found(node, made, f"{affine.what} before a product folded into the {_place(affine)}")
    return None


def _place(affine: Affine) -> str:
    return "bias" if affine.what == "shift" else "weight"


def _is_ours(view: GraphView, node: GraphNode) -> bool:
    """Whether a convolution's weight and bias depend on parameters alone, and it takes a batch."""
    x, weight, *rest = node.args
    batch, held = view.shape(x), view.shape(weight)
    same_rank = batch is not None and held is not None and len(batch) == len(held)
    return same_rank and view.is_state(weight) and (not rest or rest[0] is None or view.is_state(rest[0]))


def _layer_with(weaver: Weaver, affine: Affine, layer: Layer) -> list[GraphNode]:
    """(x @ wᵀ + b) · s + t = x @ (s · w)ᵀ + (b · s + t)."""
    vectors = Vectors.of(weaver, affine, layer.width)
    weight = layer.straight_weight(weaver)
    scaled = vectors.scaled(weaver, weight, 0)
    bias = layer.bias
    if bias is None and vectors.shift is not None:
        bias = weaver.add("aten.full_like.default", (_row_sums(weaver, weight), 0.0), (layer.width,))
    bias = None if bias is None else vectors.shifted(weaver, vectors.scaled(weaver, bias, 0))
    return weaver.finish("aten.linear.default", (layer.x, scaled, bias) if bias is not None else (layer.x, scaled))


def _convolution_with(weaver: Weaver, affine: Affine, node: GraphNode) -> list[GraphNode]:
    """The same for a convolution, whose output channels are the first dimension of its weight."""
    x, weight, *rest = node.args
    shape = weaver.shape(weight) or ()
    vectors = Vectors.of(weaver, affine, shape[0])
    bias = rest[0] if rest else None
    if bias is None and vectors.shift is not None:
        sums = weaver.add("aten.sum.dim_IntList", (weight, list(range(1, len(shape)))), shape[:1])
        bias = weaver.add("aten.full_like.default", (sums, 0.0), shape[:1])
    bias = None if bias is None else vectors.shifted(weaver, vectors.scaled(weaver, bias, 0))
    return weaver.finish(node.op, (x, vectors.scaled(weaver, weight, 0), bias, *rest[1:]), **node.kwargs)


def _layer_after(weaver: Weaver, affine: Affine, layer: Layer) -> list[GraphNode]:
    """(x · s + t) @ wᵀ + b = x @ (w · s)ᵀ + (w @ t + b), with s and t along the columns of x."""
    vectors = Vectors.of(weaver, affine, layer.depth)
    weight = layer.straight_weight(weaver)
    bias = layer.bias
    if vectors.shift is not None:
        moved = weaver.add("aten.mul.Tensor", (weight, vectors.shift), (layer.width, layer.depth))
        moved = _row_sums(weaver, moved)
        moved = weaver.add("aten.neg.default", (moved,), (layer.width,)) if vectors.subtracts else moved
        bias = added(weaver, moved, bias, layer.width)
    scaled = vectors.scaled(weaver, weight, 1)
    return weaver.finish("aten.linear.default", (affine.x, scaled, bias) if bias is not None else (affine.x, scaled))


def _row_sums(weaver: Weaver, weight: object) -> dict[str, object]:
    shape = weaver.shape(weight) or ()
    return weaver.add("aten.sum.dim_IntList", (weight, [1]), shape[:1])
