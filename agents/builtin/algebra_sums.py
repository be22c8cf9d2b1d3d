"""Sums that need not be formed: of a product's columns, of single elements, of a diagonal matrix's zeros.

The sum over n of x @ wₙ + bₙ is x @ Σw + Σb: a matrix of numbers to multiply becomes a vector, and what was bound by
tensor cores is bound by the bytes of x.
"""

from everforge.agents.builtin.graph_view import Found, GraphView, dims_of
from everforge.agents.builtin.linear_layers import layer_of
from everforge.agents.builtin.weaving import Weaver, short_op
from everforge.model.graph import GraphNode

_FOLDS = ("sum", "mean")
# The result of each over a single element is that element.
_IDENTITIES = (*_FOLDS, "amax", "amin", "logsumexp", "prod")


def single_elements(view: GraphView) -> Found | None:
    """A reduction of dimensions of extent 1, as the view it is; a running fold of one element."""
    for node in view.calls(*_IDENTITIES):
        held = view.shape(node.args[0])
        if held is None or node.kwargs or (short_op(node) == "prod" and len(node.args) < 2):
            continue
        dims = dims_of(node.args[1] if len(node.args) > 1 else None, len(held))
        if dims and all(held[dim] == 1 for dim in dims):
            shape = list(node.outputs[0].shape)
            made = view.weaver(node).finish("aten.reshape.default", (node.args[0], shape))
            return view.found(node, made, f"{short_op(node)} of single elements left out")
    return None


def diagonal_product(view: GraphView) -> Found | None:
    """diag(a) @ b as the rows of b times a, b @ diag(a) as its columns times a."""
    for node in view.calls("matmul", "mm"):
        for position in (0, 1):
            diagonal = _diagonal(view, node.args[position])
            other = node.args[1 - position]
            if diagonal is None or len(view.shape(other) or ()) != 2:
                continue
            weaver = view.weaver(node)
            scale = diagonal
            if position == 0:
                scale = weaver.add("aten.unsqueeze.default", (diagonal, 1), (*(view.shape(diagonal) or ()), 1))
            made = weaver.finish("aten.mul.Tensor", (other, scale))
            return view.found(node, made, "product with a diagonal matrix as a scale")
    return None


def _diagonal(view: GraphView, arg: object) -> object | None:
    """The vector of a square diagonal matrix."""
    maker = view.maker(arg)
    if maker is None or short_op(maker) not in ("diag", "diag_embed") or maker.kwargs or any(maker.args[1:]):
        return None
    vector: object = maker.args[0]
    return vector if len(view.shape(vector) or ()) == 1 else None


def sum_of_product(view: GraphView) -> Found | None:
    """A sum or mean over the columns of a product, as a product with a vector."""
    for node in view.calls(*_FOLDS):
        x = node.args[0]
        layer, shape = layer_of(view, view.maker(x)), view.shape(x)
        if layer is None or shape is None or node.kwargs or not view.has_one_reader(x):
            continue
        dims = dims_of(node.args[1] if len(node.args) > 1 else None, len(shape))
        if len(shape) - 1 in dims:
            made = _as_vector(view, node, dims)
            return view.found(node, made, f"{short_op(node)} of a product's columns as a product with a vector")
    return None


def _as_vector(view: GraphView, node: GraphNode, dims: frozenset[int]) -> list[GraphNode]:
    weaver = view.weaver(node)
    layer, shape = layer_of(view, view.maker(node.args[0])), view.shape(node.args[0]) or ()
    if layer is None:
        raise ValueError(f"{node.id} reads no product")
    op = "aten.sum.dim_IntList" if short_op(node) == "sum" else "aten.mean.dim"
    vector = weaver.add(op, (layer.weight, [1 if layer.turned else 0]), (layer.depth,))
    products = weaver.add("aten.mul.Tensor", (layer.x, vector), view.shape(layer.x) or ())
    rows = weaver.add("aten.sum.dim_IntList", (products, [-1], True), (*shape[:-1], 1))
    if layer.bias is not None:
        shift = weaver.add(op, (layer.bias, [0], True), (1,))
        rows = weaver.add("aten.add.Tensor", (rows, shift), (*shape[:-1], 1))
    keeps = len(node.args) > 2 and bool(node.args[2])
    if dims == {len(shape) - 1}:
        return weaver.finish("aten.reshape.default", (rows, list(node.outputs[0].shape)))
    return weaver.finish(op, (rows, sorted(dims), keeps))


def split_sum(view: GraphView) -> Found | None:
    """The sum or mean of a product plus or minus something of its shape, as those of both."""
    for node in view.calls(*_FOLDS):
        between = view.maker(node.args[0])
        if between is None or short_op(between) not in ("add", "sub") or between.kwargs or node.kwargs:
            continue
        if not view.has_one_reader(node.args[0]) or not _adds_product(view, between):
            continue
        dims = dims_of(node.args[1] if len(node.args) > 1 else None, len(between.outputs[0].shape))
        if len(between.outputs[0].shape) - 1 not in dims:
            continue
        weaver = view.weaver(node)
        parts = [_summed(weaver, node, arg) for arg in between.args]
        return view.found(node, weaver.finish(between.op, parts), f"{short_op(node)} of a sum as a sum of both")
    return None


def _adds_product(view: GraphView, node: GraphNode) -> bool:
    shapes = [view.shape(arg) for arg in node.args]
    makers = [layer_of(view, view.maker(arg)) for arg in node.args if view.has_one_reader(arg)]
    return shapes == [node.outputs[0].shape] * 2 and any(layer is not None for layer in makers)


def _summed(weaver: Weaver, node: GraphNode, arg: object) -> dict[str, object]:
    return weaver.add(node.op, (arg, *node.args[1:]), node.outputs[0].shape)
