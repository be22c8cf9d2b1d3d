"""Pooling over the last dimension in windows that touch without overlapping: a fold of each window.

`planner.py` looks the operations up here. A width that is no multiple of the window leaves a rest, which PyTorch drops
and these kernels would not; `shape_bound.py` therefore binds plans with windows to the shapes they were made for.
"""

from typing import Any

from everforge.agents.builtin.axes import Resident, Unfusable, divided, redimensioned
from everforge.agents.builtin.drafts import Operand
from everforge.agents.builtin.operations import Handler, Ops
from everforge.agents.builtin.reductions import average, fold, tensor_of


def _windowed(ops: Ops, x: Operand, size: int) -> Resident:
    """The tensor with its last dimension as (windows, size)."""
    if not ops.draft.abilities.any_order:
        raise Unfusable("pools over windows")
    table, tensor = ops.draft.table, ops.draft.resident(tensor_of(x))
    group = table.expand(tensor.dims[-1])
    if not group or table.literal(group[-1]) % size or table.literal(group[-1]) == size:
        raise Unfusable("pools over windows that leave a rest")
    windows, inside = table.split_at(group[-1], size)
    shape = (*tensor.shape[:-1], divided(tensor.shape[-1], size), table.sizes[inside])
    return redimensioned(tensor, shape, (*tensor.dims[:-1], (*group[:-1], windows), (inside,)))


def _one(value: Any, absent: int) -> int:
    """The single number of a list; what ATen takes where it is left out."""
    numbers = value if isinstance(value, list | tuple) else [value]
    return int(numbers[0]) if len(numbers) else absent


def _size(kernel_size: Any, stride: Any, padding: Any) -> int:
    size = _one(kernel_size, 1)
    if _one(stride, size) != size or _one(padding, 0) != 0:
        raise Unfusable("pools over windows that overlap, leave gaps or are padded")
    return size


def _max_pool1d(
    ops: Ops,
    self: Operand,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,  # noqa: ARG001  no rest to round
) -> Operand:
    if _one(dilation, 1) != 1:
        raise Unfusable("pools over windows with gaps")
    return fold(ops, "max", _windowed(ops, self, _size(kernel_size, stride, padding)), -1, False)


def _avg_pool1d(
    ops: Ops,
    self: Operand,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,  # noqa: ARG001
    count_include_pad: bool = True,  # noqa: ARG001  no padding to count
) -> Operand:
    return average(ops, _windowed(ops, self, _size(kernel_size, stride, padding)), -1, False)


WINDOWS: dict[str, Handler] = {"max_pool1d": _max_pool1d, "avg_pool1d": _avg_pool1d}
"""ATen's short name to its handler."""
