"""Products with a matrix of parameters in one form, as rewrites take them apart and put them together.

`algebra_folds.py`, `algebra_sums.py` and `algebra_brackets.py` use it.
"""

from dataclasses import dataclass
from typing import Any

from everforge.agents.builtin.graph_view import GraphView
from everforge.agents.builtin.weaving import Weaver, short_op
from everforge.model.graph import GraphNode


@dataclass(frozen=True)
class Layer:
    """x @ weightᵀ + bias with weight (N, K); `turned` where the graph has it as (K, N)."""

    x: Any
    weight: Any
    bias: Any
    turned: bool
    width: int  # N
    depth: int  # K

    def straight_weight(self, weaver: Weaver) -> Any:
        """The weight as (N, K)."""
        if not self.turned:
            return self.weight
        return weaver.add("aten.permute.default", (self.weight, [1, 0]), (self.width, self.depth))


def layer_of(view: GraphView, node: GraphNode | None) -> Layer | None:
    """A product of anything with one matrix, whatever ATen calls it; None for other nodes."""
    if node is None or not node.outputs:
        return None
    match short_op(node), node.args:
        case ("linear", (x, weight, *bias)):
            return _layer(view, x, weight, bias[0] if bias else None, turned=False)
        case ("matmul" | "mm", (x, weight)):
            return _layer(view, x, weight, None, turned=True)
        case ("addmm", (bias, x, weight)) if not node.kwargs and len(view.shape(bias) or ()) == 1:
            return _layer(view, x, weight, bias, turned=True)
    return None


def _layer(view: GraphView, x: Any, weight: Any, bias: Any, turned: bool) -> Layer | None:
    held, given = view.shape(weight), view.shape(x)
    if held is None or given is None or len(held) != 2 or len(given) < 2:
        return None
    width, depth = reversed(held) if turned else held
    return Layer(x, weight, bias, turned, width, depth)


def added(weaver: Weaver, first: Any, second: Any, width: int) -> Any:
    """The sum of two vectors of which either may be missing."""
    if first is None or second is None:
        return second if first is None else first
    return weaver.add("aten.add.Tensor", (first, second), (width,))
