"""Geometry of sliding windows: what convolutions and pools read of an image, and how often.

Read by `demand.py` and `least_work.py`; pure functions of traced nodes.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from everforge.model.graph import GraphNode
from everforge.runners.facts.dataflow import Flow, argument, operands, short_name
from everforge.runners.facts.tracing_cost import is_transposed


@dataclass(frozen=True)
class Window:
    """Sizes, step by step along each spatial dimension, of what slides and what it slides over."""

    image: tuple[int, ...]
    places: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def covered_share(self) -> float:
        """Share of the image that lies under at least one window; 0 where windows leave gaps."""
        if any(step > size for step, size in zip(self.strides, self.kernel, strict=True)) or max(self.dilation) > 1:
            return 0.0
        reached = [
            min(size, max(0, (count - 1) * step + width - pad))
            for size, count, width, step, pad in zip(
                self.image, self.places, self.kernel, self.strides, self.padding, strict=True
            )
        ]
        return prod(reached) / prod(self.image) if prod(self.image) else 0.0

    def taps(self) -> int:
        """Pairs of a place and a kernel element that meet the image and not its padding."""
        return prod(
            _taps(*line)
            for line in zip(
                self.image, self.places, self.kernel, self.strides, self.padding, self.dilation, strict=True
            )
        )


def _taps(size: int, places: int, width: int, step: int, pad: int, apart: int) -> int:
    """Along one dimension: for each kernel element, the places where it lies inside."""
    count = 0
    for offset in (element * apart - pad for element in range(width)):
        first = max(0, -(offset // step))
        last = min(places - 1, (size - 1 - offset) // step)
        count += max(0, last - first + 1)
    return count


def along(value: Any, dimensions: int, default: int) -> tuple[int, ...]:
    """A stride, padding or kernel size for each dimension, from a number, a list or nothing."""
    if value is None or value == []:
        return (default,) * dimensions
    listed = list(value) if isinstance(value, list | tuple) else [value]
    return tuple(int(item) for item in (listed if len(listed) == dimensions else listed[:1] * dimensions))


def convolution_window(node: GraphNode, flow: Flow) -> Window | None:
    """The window of a convolution; for a transposed one, image and places change their parts. None if unknown."""
    shapes = flow.shapes(node)
    dimensions = len(shapes[1]) - 2 if len(shapes) > 1 else 0
    if dimensions < 1 or len(shapes[0]) != len(shapes[1]) or not node.outputs:
        return None
    transposed, general = is_transposed(node), short_name(node) == "convolution"
    padding, kernel = argument(node, 4, "padding"), shapes[1][2:]
    dilation = along(argument(node, 7 if transposed and not general else 5, "dilation"), dimensions, 1)
    if isinstance(padding, str):  # "same" puts the odd one of the padding behind
        padding = [(apart * (size - 1)) // 2 for apart, size in zip(dilation, kernel, strict=True)] * (
            padding == "same"
        )
    image, places = shapes[0][-dimensions:], node.outputs[0].shape[-dimensions:]
    if transposed:
        image, places = places, image
    strides = along(argument(node, 3, "stride"), dimensions, 1)
    return Window(image, places, kernel, strides, along(padding, dimensions, 0), dilation)


def pool_window(node: GraphNode, flow: Flow) -> Window | None:
    """The window of a pool whose strides are its kernel's size unless it says otherwise."""
    meta = flow.meta(operands(node)[0])
    dimensions = int(next(digit for digit in short_name(node) if digit.isdigit()))
    if meta is None or len(meta.shape) < dimensions or not node.outputs:
        return None
    kernel = along(argument(node, 1, "kernel_size"), dimensions, 1)
    steps = along(argument(node, 2, "stride"), dimensions, 0)
    dilation = argument(node, 4, "dilation") if short_name(node).startswith("max") else None
    return Window(
        image=meta.shape[-dimensions:],
        places=node.outputs[0].shape[-dimensions:],
        kernel=kernel,
        strides=tuple(step or size for step, size in zip(steps, kernel, strict=True)),
        padding=along(argument(node, 3, "padding"), dimensions, 0),
        dilation=along(dilation, dimensions, 1),
    )
