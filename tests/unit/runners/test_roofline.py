"""The floors of a task and how a time is held against them."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from everforge.model.device import DeviceKind, Peaks
from everforge.model.graph import TaskGraph, TraceFailure
from everforge.model.precision import Precision
from everforge.runners.devices import device_of
from everforge.runners.facts.algebra import shortcuts
from everforge.runners.facts.roofline import (
    FloorFinding,
    floor_us,
    judge_floor,
    measured_peaks,
    shortcut_floor_us,
    suspicion_floor_us,
)
from everforge.runners.isolation.nursery import Nursery

GraphOf = Callable[..., TaskGraph]

FAILED = TraceFailure(variant="main", reason="no")
# 1 byte a microsecond and 1 FLOP a microsecond: floors are counts.
SLOW = Peaks(bandwidth_bytes_per_s=1e6, flops_per_s={Precision.FP32: 1e6})


def test_results_may_still_lie_in_the_cache_when_the_clock_stops(graph_of: GraphOf) -> None:
    graph = graph_of(lambda m, x: x.exp(), torch.randn(1000))
    assert floor_us(graph, SLOW, Precision.FP32) == pytest.approx(8000)
    assert suspicion_floor_us(graph, SLOW, Precision.FP32, cache_bytes=0) == pytest.approx(8000)
    assert suspicion_floor_us(graph, SLOW, Precision.FP32, cache_bytes=1000) == pytest.approx(7000)
    assert suspicion_floor_us(graph, SLOW, Precision.FP32, cache_bytes=1 << 20) == pytest.approx(4000)


@pytest.mark.parametrize(
    ("policy", "rates", "rate"),
    [
        pytest.param(Precision.FP32, {Precision.FP32: 1e6, Precision.TF32: 9e6}, 3e6, id="three products in tf32"),
        pytest.param(Precision.FP32, {Precision.FP32: 1e6, Precision.BF16: 12e6}, 2e6, id="six products in bf16"),
        pytest.param(Precision.FP32, {Precision.FP32: 1e6, Precision.BF16: 2e6}, 1e6, id="its own is faster"),
        pytest.param(Precision.TF32, {Precision.FP32: 1e6, Precision.TF32: 8e6}, 8e6, id="tf32"),
        pytest.param(Precision.BF16, {Precision.FP32: 1e6, Precision.BF16: 16e6}, 16e6, id="bf16"),
    ],
)
def test_rate_is_the_best_that_gives_the_policys_precision(
    graph_of: GraphOf, policy: Precision, rates: dict[Precision, float], rate: float
) -> None:
    graph = graph_of(nn.Linear(64, 64), torch.randn(64, 64))
    peaks = Peaks(bandwidth_bytes_per_s=1e15, flops_per_s=rates)
    assert suspicion_floor_us(graph, peaks, policy, 0) == pytest.approx(2 * 64**3 / rate * 1e6)


def test_untraced_task_has_no_floor() -> None:
    assert floor_us(FAILED, SLOW, Precision.FP32) is None
    assert suspicion_floor_us(FAILED, SLOW, Precision.FP32, 0) is None
    assert shortcut_floor_us(FAILED, (), SLOW, Precision.FP32, 0) is None


def test_shortcut_floor_has_the_reduced_flops_and_the_weights_summed_at_load(graph_of: GraphOf) -> None:
    graph = graph_of(lambda m, x: m.linear(x).sum(1), torch.randn(4, 8), linear=nn.Linear(8, 16))
    found = shortcuts(graph)
    assert suspicion_floor_us(graph, SLOW, Precision.FP32, 0) == pytest.approx(1024)
    # 32 inputs, 8 + 1 weights, 4 results of 4 bytes: more than the 64 FLOPs that are left.
    assert shortcut_floor_us(graph, found, SLOW, Precision.FP32, 0) == pytest.approx(4 * (32 + 8 + 1 + 4))
    assert shortcut_floor_us(graph, (), SLOW, Precision.FP32, 0) is None


MODELS = {
    "collapse": lambda m, x: (m.first(x) * 2).sum(1),
    "chain": lambda m, x: m.second(m.first(x)),
    "triangle": lambda m, x: x.triu() @ m.first.weight,
    "plain": lambda m, x: m.second(m.first(x).relu()),
}


@pytest.mark.parametrize("name", MODELS)
@given(cache=st.integers(0, 1 << 12), policy=st.sampled_from(Precision), rate=st.floats(1e3, 1e9))
def test_no_floor_is_above_a_stricter_one(
    graph_of: GraphOf, name: str, cache: int, policy: Precision, rate: float
) -> None:
    graph = _GRAPHS.setdefault(
        name, graph_of(MODELS[name], torch.randn(8, 8), first=nn.Linear(8, 8), second=nn.Linear(8, 2))
    )
    peaks = Peaks(bandwidth_bytes_per_s=1e6, flops_per_s={Precision.FP32: rate})
    stated = floor_us(graph, peaks, policy)
    suspicion = suspicion_floor_us(graph, peaks, policy, cache)
    shortcut = shortcut_floor_us(graph, shortcuts(graph), peaks, policy, cache)
    assert stated is not None
    assert suspicion is not None
    assert suspicion <= stated * (1 + 1e-9)
    assert shortcut is None or shortcut <= suspicion


_GRAPHS: dict[str, TaskGraph] = {}

TIMES = st.floats(1e-3, 1e6)


@given(TIMES, st.none() | TIMES, st.none() | TIMES, st.floats(0.1, 1.0))
def test_time_above_the_suspicion_floor_is_always_possible(
    candidate: float, suspicion: float | None, shortcut: float | None, margin: float
) -> None:
    finding = judge_floor(candidate, suspicion, shortcut, margin)
    if suspicion is None:
        assert finding is FloorFinding.UNKNOWN
    elif candidate >= suspicion:
        assert finding is FloorFinding.POSSIBLE
    elif finding is FloorFinding.SHORTCUT:
        assert shortcut is not None
        assert candidate >= shortcut * margin
    elif finding is FloorFinding.IMPOSSIBLE:
        assert candidate < suspicion * margin


ORDER = (FloorFinding.IMPOSSIBLE, FloorFinding.SHORTCUT, FloorFinding.POSSIBLE)


@given(TIMES, TIMES, TIMES, st.none() | TIMES, st.floats(0.1, 1.0))
def test_slower_time_is_never_more_suspicious(
    one: float, other: float, suspicion: float, shortcut: float | None, margin: float
) -> None:
    findings = [judge_floor(time, suspicion, shortcut, margin) for time in sorted((one, other))]
    assert ORDER.index(findings[0]) <= ORDER.index(findings[1])


def test_shortcut_explains_a_time_only_down_to_its_own_floor() -> None:
    assert judge_floor(50, 100, 10, 0.9) is FloorFinding.SHORTCUT
    assert judge_floor(8, 100, 10, 0.9) is FloorFinding.IMPOSSIBLE
    assert judge_floor(50, 100, None, 0.9) is FloorFinding.IMPOSSIBLE
    assert judge_floor(91, 100, None, 0.9) is FloorFinding.POSSIBLE
    assert judge_floor(0.1, 100, 0.0, 0.9) is FloorFinding.SHORTCUT


def test_peaks_include_the_shorter_precisions_that_bound_a_longer_one(nursery: Nursery) -> None:
    peaks = measured_peaks(nursery, device_of(DeviceKind.CPU), Precision.FP32)
    assert set(peaks.flops_per_s) == {Precision.FP32, Precision.BF16}
    # Any machine that runs torch copies more than 100 MB/s and multiplies more than 1 GFLOP/s.
    assert peaks.bandwidth_bytes_per_s > 1e8
    assert peaks.flops_per_s[Precision.FP32] > 1e9
