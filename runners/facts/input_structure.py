"""What the values of a task's inputs have in common in every draw: zeros in a triangle, masks, constants.

A kernel may know of it, so a floor must not count on it. Sees two draws of get_inputs(); called by `sessions.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from everforge.model.graph import TaskGraph, TraceFailure
from everforge.runners.facts.zero_blocks import Shape, Zeros
from everforge.runners.tensors.trees import Tree, leaves

# Uniform and normal draws hold next to no value twice; one that fills a twentieth of a tensor was put there.
_COMMON = 0.05
_SAMPLE = 1 << 16


@dataclass(frozen=True)
class KnownInputs:
    """By input node: zero structure, and for others with repeated values the share that has to be read."""

    zeros: Mapping[str, Zeros] = field(default_factory=dict)
    dense: Mapping[str, float] = field(default_factory=dict)


def known_inputs(graph: TaskGraph | TraceFailure, draws: tuple[Tree, Tree]) -> KnownInputs:
    """Compare two draws of the inputs, tensor by tensor, in the order in which the graph lists them."""
    if isinstance(graph, TraceFailure):
        return KnownInputs()
    names = [node.id for node in graph.nodes if node.op == "input" and node.outputs]
    first, second = (list(leaves(draw)) for draw in draws)
    if not len(names) == len(first) == len(second):  # the tracer left one out: nothing is claimed of any
        return KnownInputs(dense=dict.fromkeys(names, 0.0))
    zeros, dense = {}, {}
    for name, one, other in zip(names, first, second, strict=True):
        shape = _shape_of(one)
        if shape is not None and shape is _shape_of(other):
            zeros[name] = Zeros(shape)
        elif (share := min(_dense_share(one), _dense_share(other))) < 1 or same_values(one, other):
            dense[name] = 0.0 if same_values(one, other) else share
    return KnownInputs(zeros, dense)


def same_values(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two draws are one and the same."""
    return one.shape == other.shape and one.numel() > 0 and torch.equal(one, other)


def _shape_of(tensor: torch.Tensor) -> Shape | None:
    """Where the last two dimensions hold all that is not zero."""
    if tensor.dim() < 2 or min(tensor.shape[-2:]) < 2 or not tensor.is_floating_point() or not bool(tensor.any()):
        return None
    upper, lower = torch.equal(tensor, tensor.triu()), torch.equal(tensor, tensor.tril())
    if upper or lower:
        return Shape.DIAGONAL if upper and lower else Shape.UPPER if upper else Shape.LOWER
    return None


def _dense_share(tensor: torch.Tensor) -> float:
    """1 less the share of the commonest value, where that is more than chance would make it."""
    if tensor.layout is not torch.strided:
        return 0.0
    if not tensor.is_floating_point() or tensor.numel() < 2:
        return 1.0
    flat = tensor.reshape(-1)
    values, counts = flat[:: max(1, flat.numel() // _SAMPLE)].unique(return_counts=True)  # type: ignore[no-untyped-call]
    common = (tensor == values[counts.argmax()]).double().mean().item()
    return 1.0 - common if common > _COMMON and tensor.numel() * common > 1 else 1.0
