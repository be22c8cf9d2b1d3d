"""What a comparison of policies found, as a table for a terminal and for a page; `compare.py` prints and writes it."""

from collections.abc import Iterator

from rich.table import Table

from everforge.model.interval import Interval
from everforge.search.simulated.comparison import Band, Comparison, Contest, Point
from everforge.search.simulated.contest import Axis

_AXIS_TEXT = {Axis.TRIALS: "{:.0f} trials", Axis.DOLLARS: "${:.2f}", Axis.DEVICE_SECONDS: "{:.0f} device s"}


# How much of the trials the first column is after: what is found early is found cheaply.
_EARLY = 0.25


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """A table for each landscape: policies down, equal spends across."""
    for contest in comparison.contests:
        table = Table(title=_title(contest), title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
        for position, heading in enumerate(_headings(comparison, contest)):
            table.add_column(heading, justify="left" if position == 0 else "right")
        for row in _rows(comparison, contest):
            table.add_row(*row)
        yield table


def comparison_markdown(comparison: Comparison) -> str:
    """The same for a page."""
    lines = []
    for contest in comparison.contests:
        headings = _headings(comparison, contest)
        lines += [f"**{contest.landscape}**: {_about(contest)}", "", _line(headings), "|---" * len(headings) + "|"]
        lines += [*(_line(row) for row in _rows(comparison, contest)), ""]
    return "\n".join(lines)


def setting(comparison: Comparison) -> str:
    """How the comparison was run, in one sentence."""
    return (
        f"Best speedup, geometric mean of {comparison.repeats} searches of {comparison.trials} trials, "
        f"{comparison.in_flight} in flight, ± half its 95 % interval; below it, times that of {comparison.policies[0]}."
    )


def _title(contest: Contest) -> str:
    return f"{contest.landscape}: {_about(contest)}"


def _about(contest: Contest) -> str:
    best = contest.best_possible
    return contest.about if best is None else f"{contest.about}; the best there is: {best:.2f}x"


def _headings(comparison: Comparison, contest: Contest) -> list[str]:
    first = comparison.policies[0]
    early = _early(contest.band_of(first, Axis.TRIALS)).spent
    ends = [_AXIS_TEXT[axis].format(contest.band_of(first, axis).last.spent) for axis in Axis]
    return ["policy", f"{early:.0f} trials", *ends]


def _rows(comparison: Comparison, contest: Contest) -> Iterator[list[str]]:
    for policy in comparison.policies:
        bands = [contest.band_of(policy, axis) for axis in Axis]
        ends = (_figure(band.last.best, band.advantage) for band in bands)
        yield [str(policy), _figure(_early(bands[0]).best), *ends]


def _early(band: Band) -> Point:
    """The point of a band that is nearest to a quarter of its way."""
    return min(band.points, key=lambda point: abs(point.spent - _EARLY * band.last.spent))


def _figure(best: Interval, advantage: Interval | None = None) -> str:
    text = f"{best.value:.2f}x {_half_width(best)}"
    return text if advantage is None else f"{text}\n{advantage.value:.2f} {_half_width(advantage)}"


def _half_width(interval: Interval) -> str:
    return f"±{(interval.high - interval.low) / 2:.2f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace(chr(10), '<br>') for cell in cells)} |"
