"""Average and max pooling over one to three dimensions, with overlap, gaps, padding and a rest.

`planner.py` looks the operations up here. Windows that touch along the last dimension and leave no rest are folds of a
row's pieces, which needs nothing in memory; all others read their input from memory, each place its window. Extents
are numbers in both; `shape_bound.py` therefore binds plans with windows to the shapes they were made for.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from everforge.agents.builtin.axes import (
    Incompatible,
    Resident,
    Source,
    Tensor,
    Unfusable,
    divided,
    redimensioned,
)
from everforge.agents.builtin.drafts import Operand
from everforge.agents.builtin.operations import Handler, Ops
from everforge.agents.builtin.plan import PoolOp, Window
from everforge.agents.builtin.reductions import average, fold, tensor_of


def _max_pool(rank: int) -> Handler:
    def handler(
        ops: Ops,
        self: Operand,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Operand:
        image = tensor_of(self)
        windows = _windows(image, rank, kernel_size, stride, padding, dilation)
        if _touches(ops, image, windows):
            return fold(ops, "max", _pieces(ops, image, windows[0].size), -1, False)
        return _pooled(ops, "max", image, windows, ceil_mode)

    return handler


def _average_pool(rank: int) -> Handler:
    def handler(
        ops: Ops,
        self: Operand,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Operand:
        image = tensor_of(self)
        windows = _windows(image, rank, kernel_size, stride, padding, 1)
        if divisor_override is None and _touches(ops, image, windows):
            return average(ops, _pieces(ops, image, windows[0].size), -1, False)
        total = _pooled(ops, "sum", image, windows, ceil_mode)
        overhangs = any(_overhang(window, ceil_mode) > 0 for window in windows)
        if divisor_override is not None:
            return ops("div", total, float(divisor_override))
        if overhangs and count_include_pad and any(window.padding for window in windows):
            raise Unfusable("counts padding under windows that reach beyond it")
        if overhangs or (not count_include_pad and any(window.padding for window in windows)):
            return ops("div", total, _pooled(ops, "count", image, windows, ceil_mode))
        return ops("div", total, float(prod(window.size for window in windows)))

    return handler


def _windows(image: Tensor, rank: int, size: Any, stride: Any, padding: Any, dilation: Any) -> list[Window]:
    """The windows along the last `rank` dimensions; a stride left out is the window's size."""
    sizes = _each(size, rank)
    lists = (sizes, _each(stride, rank) or sizes, _each(padding, rank), _each(dilation, rank))
    extents = [extent.literal for extent in image.shape[len(image.shape) - rank :]]
    return [
        Window(taps, step, before, gap, extent) for taps, step, before, gap, extent in zip(*lists, extents, strict=True)
    ]


def _each(value: Any, rank: int) -> list[int]:
    """A number for each dimension; ATen takes one for all of them, or none at all."""
    numbers = [int(number) for number in (value if isinstance(value, list | tuple) else [value])]
    return numbers * rank if len(numbers) == 1 else numbers


def _touches(ops: Ops, image: Tensor, windows: Sequence[Window]) -> bool:
    """Whether windows along the last dimension take each element once, and kernels can hold them as rows."""
    last = windows[0]
    group = ops.draft.table.expand(image.dims[-1])
    alone = len(windows) == 1 and last.stride == last.size and last.padding == 0 and last.dilation == 1
    if not alone or not ops.draft.abilities.any_order or not group:
        return False
    inner = ops.draft.table.literal(group[-1])
    return inner % last.size == 0 and inner != last.size


def _pieces(ops: Ops, image: Tensor, size: int) -> Resident:
    """The tensor with its last dimension as (windows, size)."""
    table, tensor = ops.draft.table, ops.draft.resident(image)
    group = table.expand(tensor.dims[-1])
    windows, inside = table.split_at(group[-1], size)
    shape = (*tensor.shape[:-1], divided(tensor.shape[-1], size), table.sizes[inside])
    return redimensioned(tensor, shape, (*tensor.dims[:-1], (*group[:-1], windows), (inside,)))


def _pooled(ops: Ops, op: PoolOp, image: Tensor, windows: Sequence[Window], ceil_mode: bool) -> Resident:
    """The fold of what is in memory under each window."""
    if isinstance(image, Resident):
        raise Incompatible("pools over windows of what is not in memory yet")
    if not _in_order(ops, image):
        raise Unfusable("pools over windows of a rearranged tensor")
    return ops.draft.pool(op, image, windows, [_places(window, ceil_mode) for window in windows])


def _in_order(ops: Ops, image: Source) -> bool:
    """Whether a tensor's dimensions are those of its buffer, in order."""
    held = tuple(axis for group in image.dims for axis in group)
    return ops.draft.table.expand(held) == ops.draft.table.expand(image.memory) and all(
        group or extent.literal == 1 for group, extent in zip(image.dims, image.shape, strict=True)
    )


def _places(window: Window, ceil_mode: bool) -> int:
    """How many windows there are along a dimension; rounded up, one that would begin in the far padding is dropped."""
    room = window.extent + 2 * window.padding - window.dilation * (window.size - 1) - 1
    places = (room + (window.stride - 1 if ceil_mode else 0)) // window.stride + 1
    if ceil_mode and (places - 1) * window.stride >= window.extent + window.padding:
        places -= 1
    return places


def _overhang(window: Window, ceil_mode: bool) -> int:
    """By how many elements the last window reaches beyond the padding."""
    last = (_places(window, ceil_mode) - 1) * window.stride - window.padding + (window.size - 1) * window.dilation
    return last + 1 - window.extent - window.padding


WINDOWS: dict[str, Handler] = {
    **{f"max_pool{rank}d": _max_pool(rank) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": _average_pool(rank) for rank in (1, 2, 3)},
}
"""ATen's short name to its handler."""
