"""Reductions over more than a region's columns, such as a pooled group norm: first each row, then over the rows.

`planner.py` calls it. Folding what a row holds while the row is still in cache saves writing the whole tensor and
reading it again; the second stage then only sees one number for each row. Sums, means and extrema may be regrouped
so: every row has the same number of columns.
"""

from collections.abc import Sequence
from typing import Any

from everforge.agents.builtin.axes import Group, Resident
from everforge.agents.builtin.drafts import Draft

STAGED = frozenset({"sum", "mean", "amax", "amin"})


def reduced_dims(tensor: Resident, args: Sequence[Any]) -> list[int]:
    """The dimensions a reduction names in its arguments after the tensor; none or an empty list is all."""
    rank = len(tensor.shape)
    named = args[0] if args else None
    if named is None or named == []:
        return list(range(rank))
    return [dim % rank for dim in (named if isinstance(named, list) else [named])]


def stages(draft: Draft, tensor: Resident, over: Sequence[int]) -> tuple[Resident, list[int], list[int]] | None:
    """The tensor with one dimension for each axis, and the dimensions to fold first and second; None if one will do.

    The second dimensions are positions among the rows that the first stage leaves.
    """
    columns, domain = draft.columns(), draft.domain()
    axes = {axis for i in over for axis in draft.table.expand(tensor.dims[i])}
    if not columns or not set(columns) < axes:
        return None
    if not draft.abilities.any_order and set(domain[len(domain) - len(axes) :]) != axes:
        return None
    held = [axis for group in tensor.dims for axis in draft.table.expand(group)]
    kept = [axis for axis in domain if axis not in axes]
    if sorted(held) != sorted(domain) or [axis for axis in held if axis not in axes] != kept:
        return None
    flat: list[Group] = [(axis,) for axis in domain]
    whole = Resident(tensor.value, tuple(draft.table.sizes[axis] for axis in domain), tuple(flat))
    rows = len(domain) - len(columns)
    return whole, list(range(rows, len(domain))), [i for i in range(rows) if domain[i] in axes]
