"""Operations that only scale and shift the channels of a tensor, by numbers or by what depends on parameters alone.

`algebra_folds.py` takes them up into weights. A batch norm in evaluation mode is one of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from everforge.agents.builtin.graph_view import GraphView
from everforge.agents.builtin.weaving import Weaver, named, short_op
from everforge.model.graph import GraphNode

AFFINE = ("mul", "div", "add", "sub", "rsub", "neg", "getitem")
"""Operations that may be one; a batch norm is seen through the `getitem` that picks its first output."""
_BATCH_NORM = "_native_batch_norm_legit_no_training"


@dataclass(frozen=True)
class Affine:
    """±x · factor (or ± x / factor) ± shift; None where there is none. `norm` is a batch norm, which has all of it."""

    x: Any
    what: str
    factor: Any = None
    divides: bool = False
    shift: Any = None
    subtracts: bool = False
    negates: bool = False
    norm: GraphNode | None = None


def affines(view: GraphView, node: GraphNode) -> Iterator[Affine]:
    """The ways to see a node as scaling or shifting one of its operands; at most two."""
    if node.op == "getitem":
        yield from _of_norm(view, node)
        return
    if node.kwargs or not node.args:
        return
    first, second = node.args[0], node.args[1] if len(node.args) > 1 else None
    op, by_first, by_second = short_op(node), view.is_state(first), view.is_state(second)
    if op == "neg":
        yield Affine(first, "sign", negates=True)
    elif op == "div" and by_second:
        yield Affine(first, "scale", factor=second, divides=True)
    elif op in ("sub", "rsub") and by_second:
        yield Affine(first, "shift", shift=second, subtracts=op == "sub", negates=op == "rsub")
    elif op == "sub" and by_first:
        yield Affine(second, "shift", shift=first, negates=True)
    elif op in ("mul", "add"):
        for x, other, is_state in ((first, second, by_second), (second, first, by_first)):
            if is_state:
                yield Affine(x, "scale", factor=other) if op == "mul" else Affine(x, "shift", shift=other)


def _of_norm(view: GraphView, node: GraphNode) -> Iterator[Affine]:
    norm = view.nodes.get(node.args[0]["node"])
    if norm is None or short_op(norm) != _BATCH_NORM or node.args[1] != 0:
        return
    if all(arg is None or view.is_state(arg) for arg in norm.args[1:5]) and None not in norm.args[3:5]:
        yield Affine(norm.args[0], "batch norm", norm=norm)


def varies_along(view: GraphView, affine: Affine, node: GraphNode, channel: int) -> bool:
    """Whether factor and shift differ between the channels alone, and the node has the extents of its operand."""
    shape = view.shape(affine.x)
    if shape is None or len(shape) < 2 or node.outputs[0].shape != shape:
        return False
    channel %= len(shape)
    if affine.norm is not None:
        return channel == 1
    for arg in (affine.factor, affine.shift):
        held = view.shape(arg) or () if named(arg) is not None else ()
        first = len(shape) - len(held)
        if first < 0 or any(extent != 1 and first + i != channel for i, extent in enumerate(held)):
            return False
    return True


@dataclass(frozen=True)
class Vectors:
    """What an affine operation does to channels: numbers, or nodes of shape (channels,) or (1,); None for nothing."""

    factor: Any
    divides: bool
    shift: Any
    subtracts: bool
    negates: bool

    @staticmethod
    def of(weaver: Weaver, affine: Affine, channels: int) -> "Vectors":
        """The vectors, with the nodes that make them."""
        if affine.norm is not None:
            factor, shift = _norm_vectors(weaver, affine.norm, channels)
            return Vectors(factor, divides=False, shift=shift, subtracts=False, negates=False)
        factor, shift = _flat(weaver, affine.factor), _flat(weaver, affine.shift)
        return Vectors(factor, affine.divides, shift, affine.subtracts, affine.negates)

    def scaled(self, weaver: Weaver, tensor: Any, dim: int) -> Any:
        """A tensor times the factor along dimension `dim`, and with the sign."""
        shape = weaver.shape(tensor) or ()
        if self.factor is not None:
            factor = self.factor
            if weaver.shape(factor) is not None:
                wide = [(weaver.shape(factor) or (1,))[0] if i == dim else 1 for i in range(len(shape))]
                factor = weaver.add("aten.reshape.default", (factor, wide), wide)
            tensor = weaver.add(f"aten.{'div' if self.divides else 'mul'}.Tensor", (tensor, factor), shape)
        return weaver.add("aten.neg.default", (tensor,), shape) if self.negates else tensor

    def shifted(self, weaver: Weaver, vector: Any) -> Any:
        """A vector of all channels plus the shift."""
        if self.shift is None:
            return vector
        op = "aten.sub.Tensor" if self.subtracts else "aten.add.Tensor"
        return weaver.add(op, (vector, self.shift), weaver.shape(vector) or ())


def _flat(weaver: Weaver, arg: Any) -> Any:
    """A number as it is; a tensor of channels without its other dimensions."""
    shape = weaver.shape(arg)
    if shape is None or len(shape) == 1:
        return arg
    count = max(shape, default=1)
    return weaver.add("aten.reshape.default", (arg, [count]), (count,))


def _norm_vectors(weaver: Weaver, norm: GraphNode, channels: int) -> tuple[Any, Any]:
    """scale = gain / √(variance + eps), shift = offset − mean · scale."""
    _, gain, offset, mean, variance, _, eps = norm.args
    wide = (channels,)
    scale = weaver.add("aten.rsqrt.default", (weaver.add("aten.add.Tensor", (variance, eps), wide),), wide)
    scale = scale if gain is None else weaver.add("aten.mul.Tensor", (scale, gain), wide)
    shift = weaver.add("aten.neg.default", (weaver.add("aten.mul.Tensor", (mean, scale), wide),), wide)
    return scale, shift if offset is None else weaver.add("aten.add.Tensor", (shift, offset), wide)
