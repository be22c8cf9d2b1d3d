"""The share of a device's time in own kernels, from the profiler's events."""

from types import SimpleNamespace
from typing import Any

import pytest
from torch._C._autograd import DeviceType

from everforge.runners.integrity.kernel_share import share_of_events


def kernel(name: str, time_us: float, start_us: float = 0.0) -> Any:
    """An event of the profiler for what ran on the device."""
    during = SimpleNamespace(start=start_us, end=start_us + time_us, elapsed_us=lambda: time_us)
    return SimpleNamespace(name=name, device_type=DeviceType.CUDA, time_range=during, is_user_annotation=False)


def mark(name: str, time_us: float, start_us: float) -> Any:
    """The profiler's event over the kernels that one launch put on the device."""
    return SimpleNamespace(**{**vars(kernel(name, time_us, start_us)), "is_user_annotation": True})


def on_host(name: str) -> Any:
    """An event of the profiler for a call on the host."""
    return SimpleNamespace(name=name, device_type=DeviceType.CPU)


def test_share_counts_triton_by_name_and_others_by_who_launched_them() -> None:
    kernels = [
        kernel("tuned", 10),
        kernel("f_kernel", 20, start_us=10),
        kernel("ampere_sgemm", 50, start_us=30),
        kernel("memcpy", 20, start_us=80),
    ]
    marks = [mark("everforge launch of tuned", 10, 0), mark("everforge launch of ext.f", 20, 10)]
    events = [*kernels, *marks, on_host("everforge launch of ext.f"), on_host("aten::mm")]
    assert share_of_events(events, {"tuned"}, replayed=False) == pytest.approx(0.3)


def test_share_of_a_replayed_graph_is_known_for_triton_alone() -> None:
    assert share_of_events([kernel("tuned", 10), kernel("other", 30)], {"tuned"}, replayed=True) == 0.25
    assert share_of_events([kernel("f_kernel", 10), kernel("other", 30)], set(), replayed=True) is None


def test_share_is_unknown_where_the_device_did_nothing() -> None:
    assert share_of_events([on_host("aten::mm")], set(), replayed=False) is None
