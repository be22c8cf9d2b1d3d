"""Index expressions of merged axes, evaluated in Python and compared with strides counted by hand."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from everforge.agents.builtin.plan import KernelRegion, Load, Size
from everforge.agents.builtin.triton_domain import Domain


def region_of(sizes: tuple[int, ...], row_axes: int, loads: list[Load]) -> KernelRegion:
    domain = tuple(Size(size, (("x", axis),)) for axis, size in enumerate(sizes))
    return KernelRegion("region", domain, row_axes, tuple(loads), ())


def evaluated(text: str, domain: Domain, sizes: tuple[int, ...], row: int, column: int) -> int:
    merged = [math.prod(sizes[axis] for axis in group) for group in domain.groups]
    names = {f"A{position}": extent for position, extent in enumerate(merged)}
    names |= {"row": row, "column": column, "COLUMNS": math.prod(merged[domain.row_count :])}
    return int(eval(text.replace(".to(tl.int64)", ""), {}, names))


def offset(load: Load, sizes: tuple[int, ...], place: tuple[int, ...]) -> int:
    total = 0
    for axis in load.axes:
        total = total * sizes[axis] + place[axis]
    return total


@st.composite
def regions(draw: st.DrawFn) -> tuple[tuple[int, ...], int, list[Load]]:
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    row_axes = draw(st.integers(0, len(sizes)))
    axes = st.permutations(range(len(sizes))).flatmap(
        lambda order: st.integers(0, len(sizes)).map(lambda count: tuple(order[:count]))
    )
    loads = [Load(f"b{i}", chosen) for i, chosen in enumerate(draw(st.lists(axes, min_size=1, max_size=3)))]
    return sizes, row_axes, loads


@given(regions())
def test_index_text_finds_every_element(case: tuple[tuple[int, ...], int, list[Load]]) -> None:
    sizes, row_axes, loads = case
    domain = Domain.of(region_of(sizes, row_axes, loads), row_axes)
    columns = math.prod(sizes[row_axes:])
    for number, place in enumerate(itertools.product(*map(range, sizes))):
        row, column = divmod(number, columns)
        for load in loads:
            assert evaluated(domain.index(load.axes), domain, sizes, row, column) == offset(load, sizes, place)


def test_axes_that_every_load_keeps_together_are_merged() -> None:
    region = region_of((2, 3, 5, 7), 2, [Load("x", (0, 1, 2, 3)), Load("shift", (1,)), Load("plane", (2, 3))])
    assert Domain.of(region, 2).groups == ((0,), (1,), (2, 3))


def test_contiguous_load_needs_no_division() -> None:
    region = region_of((2, 3, 5), 2, [Load("x", (0, 1, 2))])
    assert Domain.of(region, 2).index((0, 1, 2)) == "row * COLUMNS + column"
