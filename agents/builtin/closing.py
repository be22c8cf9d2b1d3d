"""Turns a finished draft into a `KernelRegion`, and joins matrix products with their epilogues."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from everforge.agents.builtin.axes import Group, multiplied
from everforge.agents.builtin.drafts import Draft
from everforge.agents.builtin.plan import (
    BufferArg,
    KernelRegion,
    Load,
    MatmulRegion,
    Pointwise,
    Pooled,
    Reduce,
    Scan,
    Step,
    Store,
    TorchStep,
    Value,
)


def closed_region(draft: Draft, stores: Sequence[Store], name: str) -> KernelRegion:
    """The region of a draft: dead values dropped, axes that always go together merged into one."""
    values, stores = _live(draft.values, stores)
    domain = draft.domain()
    orders = [draft.table.expand(run) for value in values if isinstance(value, Load) for run in value.runs()]
    orders += [draft.table.expand(store.axes) for store in stores if store.axes is not None]
    columns = draft.columns()
    row_count = _pointwise_rows(domain, orders) if columns is None else len(domain) - len(columns)
    runs = _runs(domain, row_count, orders)
    position = {run[0]: number for number, run in enumerate(runs)}

    def placed(axes: Group) -> Group:
        return tuple(position[axis] for axis in draft.table.expand(axes) if axis in position)

    return KernelRegion(
        name=name,
        domain=tuple(multiplied(draft.table.sizes[axis] for axis in run) for run in runs),
        row_axes=sum(domain.index(run[0]) < row_count for run in runs),
        values=tuple(_renamed(v, placed) if isinstance(v, Load) else v for v in values),
        stores=tuple(s if s.axes is None else replace(s, axes=placed(s.axes)) for s in stores),
        fuses=tuple(draft.fuses),
    )


def _renamed(load: Load, placed: Callable[[Group], Group]) -> Load:
    """A load along the region's own axes."""
    if isinstance(load, Pooled):
        windows = tuple(replace(window, axes=placed(window.axes)) for window in load.windows)
        return replace(load, axes=placed(load.axes), windows=windows)
    return replace(load, axes=placed(load.axes))


def _live(values: Sequence[Value], stores: Sequence[Store]) -> tuple[list[Value], list[Store]]:
    """The values that stores need, renumbered."""
    needed: set[int] = {store.value for store in stores}
    for number in range(len(values) - 1, -1, -1):
        value = values[number]
        if number in needed:
            needed |= set(value.args) if isinstance(value, Pointwise) else set()
            needed |= {value.arg} if isinstance(value, Reduce | Scan) else set()
    renumbered = {old: new for new, old in enumerate(sorted(needed))}
    kept: list[Value] = []
    for old in sorted(needed):
        value = values[old]
        if isinstance(value, Pointwise):
            value = replace(value, args=tuple(renumbered[arg] for arg in value.args))
        elif isinstance(value, Reduce | Scan):
            value = replace(value, arg=renumbered[value.arg])
        kept.append(value)
    return kept, [replace(store, value=renumbered[store.value]) for store in stores]


def _pointwise_rows(domain: Group, loads: Sequence[Group]) -> int:
    """Where a pointwise region's rows end: the longest run of innermost axes that loads have whole or not at all."""
    for rows in range(len(domain) + 1):
        columns = domain[rows:]
        if all(tuple(a for a in load if a in columns) in ((), columns) for load in loads):
            whole = all(load[len(load) - len(columns) :] == columns for load in loads if set(load) & set(columns))
            if whole:
                return min(rows, max(len(domain) - 1, 0))
    return max(len(domain) - 1, 0)


def _runs(domain: Group, row_count: int, loads: Sequence[Group]) -> list[Group]:
    """Neighbouring axes on one side of the rows' end that every load has together, in order, or not at all."""
    runs: list[Group] = []
    for number, axis in enumerate(domain):
        together = bool(runs) and number != row_count and all(_joined(load, runs[-1][-1], axis) for load in loads)
        if together:
            runs[-1] = (*runs[-1], axis)
        else:
            runs.append((axis,))
    return runs


def _joined(load: Group, first: int, second: int) -> bool:
    if first not in load and second not in load:
        return True
    return first in load and load.index(first) + 1 < len(load) and load[load.index(first) + 1] == second


def merged_epilogues(steps: tuple[Step, ...], results: tuple[str, ...]) -> tuple[Step, ...]:
    """Each product that is followed by a pointwise region over its elements takes that region as its epilogue."""
    merged: list[Step] = []
    for number, step in enumerate(steps):
        before = merged[-1] if merged else None
        if isinstance(step, KernelRegion) and isinstance(before, MatmulRegion) and _is_epilogue(step, before):
            others = steps[number + 1 :]
            read = before.product in results or any(before.product in reads(other) for other in others)
            merged[-1] = replace(before, epilogue=step, keeps_product=read)
        else:
            merged.append(step)
    return tuple(merged)


def _is_epilogue(region: KernelRegion, matmul: MatmulRegion) -> bool:
    everything = tuple(range(len(region.domain)))
    loads = [load for load in region.loads() if load.buffer == matmul.product]
    return (
        matmul.epilogue is None
        and region.is_pointwise
        and all(store.axes is None for store in region.stores)
        and bool(loads)
        and all(load.axes == everything and not isinstance(load, Pooled) for load in loads)
    )


def reads(step: Step) -> set[str]:
    """The buffers a step reads."""
    match step:
        case KernelRegion():
            return {load.buffer for load in step.loads()}
        case MatmulRegion():
            own = {step.lhs, step.rhs, *step.biases, *([step.twin.rhs] if step.twin else [])}
            return own | (reads(step.epilogue) if step.epilogue else set())
        case TorchStep():
            args = _flat(step.args + tuple(value for _, value in step.kwargs))
            return {arg.name for arg in args if isinstance(arg, BufferArg)}


def _flat(args: tuple[object, ...]) -> list[object]:
    return [item for arg in args for item in (_flat(arg) if isinstance(arg, tuple) else [arg])]
