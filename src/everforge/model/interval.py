"""A measured value with its confidence interval, and the bootstrap that makes one."""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import Field, model_validator

from everforge.model.base import Record

# 1000 resamples put the 2.5 % and 97.5 % quantiles on the 25th value from each end.
RESAMPLES = 1000

T = TypeVar("T")


class Interval(Record):
    """A value and its 95 % bootstrap confidence interval."""

    value: float
    low: float
    high: float
    confidence: float = Field(0.95, gt=0, lt=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Interval":
        if not self.low <= self.value <= self.high:
            raise ValueError(f"interval [{self.low}, {self.high}] does not contain its value {self.value}")
        return self


def bootstrap(samples: Sequence[T], statistic: Callable[[Sequence[T]], float], seed: int) -> Interval:
    """Percentile bootstrap of any statistic of `samples` (Efron 1979), deterministic under `seed`."""
    return bootstrap_strata([samples], lambda strata: statistic(strata[0]), seed)


def bootstrap_strata(
    strata: Sequence[Sequence[T]], statistic: Callable[[Sequence[Sequence[T]]], float], seed: int
) -> Interval:
    """As `bootstrap`, each stratum resampled for itself: a statistic over several groups of samples."""
    rng = random.Random(seed)
    value = statistic(strata)
    resampled = sorted(
        statistic([rng.choices(samples, k=len(samples)) for samples in strata]) for _ in range(RESAMPLES)
    )
    low, high = resampled[int(0.025 * RESAMPLES)], resampled[int(0.975 * RESAMPLES) - 1]
    return Interval(value=value, low=min(low, value), high=max(high, value))


def geometric_mean(values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Weighted geometric mean of positive values."""
    weights = weights or [1.0] * len(values)
    return math.exp(statistics.fmean([math.log(value) for value in values], weights))
