"""Where the search of a Triton candidate's parameters begins: points that measurements on an H200 speak for.

`strategies.py` hands them to the tuner, which tries them before it asks its estimator. The first is every default;
each of the others moves one step of the plan to its second-best way of working. There are few of them, because a
campaign may have a budget of eight trials.
"""

from collections.abc import Iterator, Mapping, Sequence

from everforge.agents.builtin.plan import KernelRegion, MatmulRegion, Plan
from everforge.agents.builtin.triton_space import SWEPT
from everforge.model.candidate import ParameterValue

Parameters = dict[str, ParameterValue]
Space = Mapping[str, Sequence[ParameterValue]]

MOST_STARTS = 6


def triton_starts(plan: Plan, space: Space) -> tuple[Parameters, ...]:
    """Points of `space` to try first, best guess first."""
    defaults = {name: choices[0] for name, choices in space.items()}
    points = [defaults]
    for move in _moves(plan, space):
        point = defaults | move
        if point not in points and all(value in space[name] for name, value in point.items()):
            points.append(point)
    return tuple(points[:MOST_STARTS])


def _moves(plan: Plan, space: Space) -> Iterator[Parameters]:
    """Departures from the defaults: first other kernels for all products, then other shapes of each row program."""
    yield from _product_moves([step.name for step in plan.steps if isinstance(step, MatmulRegion)], space)
    for step in plan.steps:
        if isinstance(step, KernelRegion):
            yield from _region_moves(step, space)


def _product_moves(names: Sequence[str], space: Space) -> Iterator[Parameters]:
    """The second kernel; then Triton's own with a deeper pipeline, and with tiles that leave an epilogue registers."""
    yield {f"{name}_kernel": space[f"{name}_kernel"][1] for name in names if len(space[f"{name}_kernel"]) > 1}
    own = [name for name in names if "persistent" in space[f"{name}_kernel"]]
    for what, choice in (("stages", 4), ("tile_n", 128)):
        move: Parameters = {f"{name}_kernel": "persistent" for name in own}
        yield move | {f"{name}_{what}": choice for name in own}


def _region_moves(region: KernelRegion, space: Space) -> Iterator[Parameters]:
    name = region.name
    if region.is_pointwise:
        yield {f"{name}_block": 2048, f"{name}_warps": 4}
        yield {f"{name}_block": 4096, f"{name}_warps": 8}
        return
    warps = [int(value) for value in space[f"{name}_warps"]]
    for choice in space.get(f"{name}_whole", ())[1:]:
        # A row is swept with every thread there is, and held in registers with half of them.
        yield {f"{name}_whole": choice, f"{name}_warps": max(warps) if choice == SWEPT else min(warps)}
    for what in ("rows", "tile"):
        for rows in space.get(f"{name}_{what}", ())[1:2]:
            yield {f"{name}_{what}": rows, f"{name}_warps": max(warps)}
    yield {f"{name}_warps": max(warps)}
