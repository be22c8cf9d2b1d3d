"""Intervals contain their value; the bootstrap is deterministic and narrows with more samples."""

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from everforge.model.interval import Interval, bootstrap, geometric_mean

# Times of kernels, in microseconds: from a nanosecond to a quarter of an hour.
times_us = st.floats(1e-3, 1e9)
samples = st.lists(times_us, min_size=1, max_size=30)


@pytest.mark.parametrize("bounds", [(1.1, 1.2), (0.8, 0.9), (1.2, 0.8)])
def test_interval_that_misses_its_value_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="does not contain its value"):
        Interval(value=1.0, low=bounds[0], high=bounds[1])


@settings(max_examples=25)
@given(samples, st.integers())
def test_bootstrap_contains_its_value_and_stays_within_the_samples(drawn: list[float], seed: int) -> None:
    interval = bootstrap(drawn, statistics.median, seed)
    assert interval.value == statistics.median(drawn)
    assert min(drawn) <= interval.low <= interval.value <= interval.high <= max(drawn)


@settings(max_examples=10)
@given(samples, st.integers())
def test_bootstrap_is_the_same_under_the_same_seed(drawn: list[float], seed: int) -> None:
    assert bootstrap(drawn, statistics.fmean, seed) == bootstrap(drawn, statistics.fmean, seed)


def test_bootstrap_of_one_sample_has_no_width() -> None:
    assert bootstrap([3.0], statistics.median, 0) == Interval(value=3.0, low=3.0, high=3.0)


@pytest.mark.parametrize("seed", range(5))
def test_more_samples_give_a_narrower_interval(seed: int) -> None:
    rng = random.Random(seed)
    drawn = [rng.lognormvariate(0, 0.1) for _ in range(640)]
    few, many = bootstrap(drawn[:40], statistics.fmean, 1), bootstrap(drawn, statistics.fmean, 1)
    # Width falls with the square root of the count, 4 here; 2 leaves room for the draw.
    assert many.high - many.low < (few.high - few.low) / 2


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(7)
    covered = 0
    for trial in range(100):
        interval = bootstrap([rng.gauss(10, 1) for _ in range(40)], statistics.fmean, trial)
        covered += interval.low <= 10 <= interval.high
    # 95 expected; the percentile bootstrap is a little narrow at 40 samples, and 88 is 3 sigma below.
    assert 88 <= covered <= 100


@given(st.lists(times_us, min_size=1, max_size=20))
def test_geometric_mean_lies_between_the_extremes(values: list[float]) -> None:
    mean = geometric_mean(values)
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)


@given(st.lists(st.tuples(times_us, st.integers(1, 4)), min_size=1, max_size=6))
def test_weight_counts_like_repetition(weighted: list[tuple[float, int]]) -> None:
    values, weights = zip(*weighted, strict=True)
    repeated = [value for value, weight in weighted for _ in range(weight)]
    assert math.isclose(geometric_mean(values, weights), geometric_mean(repeated), rel_tol=1e-9)


def test_geometric_mean_of_a_ratio_and_its_inverse_is_one() -> None:
    assert math.isclose(geometric_mean([4.0, 0.25]), 1.0)
