"""A comparison of policies: bands of the best speedup against what was spent, and how one fares against another.

`everforge compare` makes one and prints it. Policies are compared at equal spends: an axis ends where the course
that spent least of it ends, so that nobody is judged by what it had no chance to spend.
"""

from collections.abc import Sequence

from pydantic import Field

from everforge.model.base import Record
from everforge.model.interval import Interval
from everforge.model.search_settings import PolicyKind
from everforge.search.simulated.contest import Axis, Course, advantage, band, courses
from everforge.search.simulated.landscapes import landscape_of

# Points of a band; the plot joins them.
POINTS = 12


class Point(Record):
    """The best speedup once so much was spent: geometric mean of all repeats, with its 95 % interval."""

    spent: float
    best: Interval


class Band(Record):
    """One policy along one axis."""

    policy: PolicyKind
    axis: Axis
    points: tuple[Point, ...]
    advantage: Interval | None = Field(
        None, description="At the axis' end, over the first policy; None for the first itself"
    )

    @property
    def last(self) -> Point:
        """Where the axis ends."""
        return self.points[-1]


class Contest(Record):
    """All policies on one landscape."""

    landscape: str
    about: str
    best_possible: float | None = Field(None, description="Speedup of the best kernel; None where repeats differ in it")
    bands: tuple[Band, ...]

    def band_of(self, policy: PolicyKind, axis: Axis) -> Band:
        """The band of a policy along an axis."""
        return next(band for band in self.bands if band.policy is policy and band.axis is axis)


class Comparison(Record):
    """What `everforge compare --json` prints."""

    policies: tuple[PolicyKind, ...]
    repeats: int
    trials: int
    in_flight: int
    contests: tuple[Contest, ...]


def contest_on(name: str, policies: Sequence[PolicyKind], repeats: int, trials: int, in_flight: int) -> Contest:
    """Run every policy on a landscape and draw its bands."""
    groups = {kind: list(courses(name, kind, repeats, trials, in_flight)) for kind in policies}
    bands = [_band(groups, kind, policies[0], axis) for axis in Axis for kind in policies]
    first, second = landscape_of(name, 0), landscape_of(name, 1)
    return Contest(
        landscape=name,
        about=first.about,
        best_possible=first.best if first == second else None,
        bands=tuple(bands),
    )


def _band(groups: dict[PolicyKind, list[Course]], kind: PolicyKind, first: PolicyKind, axis: Axis) -> Band:
    end = min(getattr(course.steps[-1].spent, axis) for group in groups.values() for course in group)
    spends = [end * step / POINTS for step in range(1, POINTS + 1)]
    if axis is Axis.TRIALS:
        spends = sorted({round(spent) for spent in spends} - {0})
    return Band(
        policy=kind,
        axis=axis,
        points=tuple(Point(spent=spent, best=band(groups[kind], axis, spent)) for spent in spends),
        advantage=None if kind is first else advantage(groups[kind], groups[first], axis, end),
    )
