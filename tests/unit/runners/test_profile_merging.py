"""Launches of one kernel become one record: sums stay sums, shares stay between the smallest and the largest."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.kernel_profile import HostGaps, KernelProfile, Stall
from everforge.runners.profiles.merging import merged
from everforge.runners.profiles.torch_trace import Event, gaps, own_times
from everforge.testing.record_strategies import records

SHARES = st.floats(0, 1)
LAUNCHES = st.lists(
    records(
        KernelProfile,
        name=st.sampled_from("abc"),
        launches=st.integers(1, 100),
        time_us=st.floats(0, 1e6),
        bytes_read=st.none() | st.floats(0, 1e12),
        bytes_written=st.none() | st.floats(0, 1e12),
        waves=st.none() | st.floats(0, 1e6),
        bandwidth_bytes_per_s=st.none() | st.floats(0, 1e15),
        flops_per_s=st.none() | st.floats(0, 1e18),
        occupancy_achieved=st.none() | SHARES,
        stalls=st.lists(records(Stall, reason=st.sampled_from("xyz")), max_size=3).map(tuple),
    ),
    max_size=6,
)
INTERVALS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 50)), min_size=1, max_size=12)


def events(intervals: list[tuple[int, int]]) -> list[Event]:
    return [Event("k", "kernel", float(start), float(start + time), ("0", "0"), {}) for start, time in intervals]


@given(LAUNCHES)
def test_launches_times_and_bytes_of_a_kernel_are_the_sums_of_its_rows(rows: list[KernelProfile]) -> None:
    for kernel in merged(rows):
        same = [row for row in rows if row.name == kernel.name]
        assert kernel.launches == sum(row.launches or 0 for row in same)
        assert kernel.time_us == pytest.approx(math.fsum(row.time_us or 0 for row in same))
        bytes_read = [row.bytes_read for row in same]
        if None in bytes_read:
            assert kernel.bytes_read is None
        else:
            assert kernel.bytes_read == pytest.approx(math.fsum(value or 0 for value in bytes_read))


@given(LAUNCHES)
def test_shares_lie_between_the_smallest_and_the_largest_of_the_rows(rows: list[KernelProfile]) -> None:
    for kernel in merged(rows):
        known = [
            row.occupancy_achieved for row in rows if row.name == kernel.name and row.occupancy_achieved is not None
        ]
        assert (kernel.occupancy_achieved is None) == (not known)
        if kernel.occupancy_achieved is not None:
            assert min(known) <= kernel.occupancy_achieved <= max(known)


@given(LAUNCHES)
def test_kernels_come_with_the_largest_share_first_and_shares_add_up(rows: list[KernelProfile]) -> None:
    shares = [kernel.share for kernel in merged(rows)]
    if any(row.time_us for row in rows):
        told = [share for share in shares if share is not None]
        assert told == sorted(told, reverse=True)
        assert math.fsum(told) == pytest.approx(1)
    else:
        assert set(shares) <= {None}


def test_longer_launch_weighs_more_in_a_mean() -> None:
    rows = [
        KernelProfile(name="k", launches=1, time_us=30, occupancy_achieved=0.2, registers_per_thread=40),
        KernelProfile(name="k", launches=1, time_us=10, occupancy_achieved=0.6, registers_per_thread=64),
        KernelProfile(name="k", launches=1, time_us=60),
    ]
    kernel = merged(rows)[0]
    assert kernel.occupancy_achieved == pytest.approx(0.3)
    assert kernel.registers_per_thread == 64


@given(INTERVALS)
def test_idle_and_busy_time_make_up_the_span(intervals: list[tuple[int, int]]) -> None:
    kernels = events(intervals)
    found = gaps(kernels, kernels)
    busy = {at for start, time in intervals for at in range(start, start + time)}
    assert found.idle_us == pytest.approx(found.span_us - len(busy))
    assert found.longest_us <= found.idle_us
    assert (found.count == 0) == (found.idle_us == 0)


def test_timeline_without_a_span_is_not_idle() -> None:
    assert HostGaps(span_us=0, idle_us=0, longest_us=0, count=0).idle_share == 0


@given(INTERVALS)
def test_own_times_of_nested_operators_never_exceed_the_time_of_the_outermost(intervals: list[tuple[int, int]]) -> None:
    outer = Event("outer", "cpu_op", -1.0, 2000.0, ("0", "0"), {})
    own = list(own_times([outer]))
    assert own[0].time_us == 2001
    ends, nested = 0, []
    for start, time in sorted(intervals):  # one after the other, none over another
        if start >= ends:
            nested.append((start, time))
            ends = start + time
    total = math.fsum(each.time_us or 0 for each in own_times([outer, *events(nested)]))
    assert total == pytest.approx(2001)
