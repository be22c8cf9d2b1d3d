"""The bands of a comparison as one SVG: landscapes down, spends across, a line and a band for each policy.

Written by hand, because a plotting library would be a dependency for one picture. Colours are readable on light and on
dark pages and to the colour-blind (Okabe and Ito); lines differ in their dashes, too.
"""

from collections.abc import Iterator, Sequence
from html import escape

from everforge.search.simulated.comparison import Band, Comparison, Contest
from everforge.search.simulated.contest import Axis

_PANEL_WIDTH, _PANEL_HEIGHT, _GAP, _LEFT, _TOP = 260, 150, 50, 60, 64
_ROW_HEIGHT = _PANEL_HEIGHT + 70
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_DASHES = ("", "6 3", "2 2", "8 3 2 3")
_AXIS_NAMES = {Axis.TRIALS: "trials", Axis.DOLLARS: "dollars", Axis.DEVICE_SECONDS: "device seconds"}
_GREY = "#808080"


def comparison_svg(comparison: Comparison) -> str:
    """The picture."""
    width = _LEFT + len(Axis) * (_PANEL_WIDTH + _GAP)
    height = _TOP + len(comparison.contests) * _ROW_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<text x="{_LEFT}" y="20" fill="{_GREY}">{escape(_caption(comparison))}</text>',
        *_legend(comparison),
        *(part for row, contest in enumerate(comparison.contests) for part in _row(comparison, contest, row)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _caption(comparison: Comparison) -> str:
    return (
        f"Best speedup so far: geometric mean of {comparison.repeats} searches, {comparison.in_flight} in flight; "
        "bands are 95 % intervals, dotted the best there is"
    )


def _legend(comparison: Comparison) -> Iterator[str]:
    for number, policy in enumerate(comparison.policies):
        x = _LEFT + 130 * number
        yield f'<path d="M{x} 38h28" {_stroke(number)}/>'
        yield f'<text x="{x + 34}" y="42" fill="{_GREY}">{escape(policy)}</text>'


def _row(comparison: Comparison, contest: Contest, row: int) -> Iterator[str]:
    top = _TOP + row * _ROW_HEIGHT + 24
    yield f'<text x="{_LEFT}" y="{top - 10}" font-weight="bold" fill="{_GREY}">{escape(contest.landscape)}</text>'
    highs = [point.best.high for band in contest.bands for point in band.points]
    ceiling = max([*highs, contest.best_possible or 0.0]) * 1.05
    for column, axis in enumerate(Axis):
        bands = [contest.band_of(policy, axis) for policy in comparison.policies]
        yield from _panel(bands, _LEFT + column * (_PANEL_WIDTH + _GAP), top, ceiling, contest.best_possible)


def _panel(bands: Sequence[Band], left: int, top: int, ceiling: float, best: float | None) -> Iterator[str]:
    """One axis: a frame with labels, then the bands below the lines. Speedups run from 1 to the ceiling."""
    end = bands[0].last.spent

    def x_of(spent: float) -> float:
        return left + _PANEL_WIDTH * spent / end

    def y_of(speedup: float) -> float:
        return top + _PANEL_HEIGHT * (1 - (max(speedup, 1.0) - 1) / (ceiling - 1))

    yield from _frame(bands[0].axis, end, left, top, ceiling)
    if best is not None:
        yield f'<path d="M{left} {y_of(best):.1f}h{_PANEL_WIDTH}" stroke="{_GREY}" stroke-dasharray="1 4"/>'
    for number, band in enumerate(bands):
        upper = [(x_of(point.spent), y_of(point.best.high)) for point in band.points]
        lower = [(x_of(point.spent), y_of(point.best.low)) for point in reversed(band.points)]
        yield f'<path d="M{_joined(upper + lower)}z" fill="{_COLOURS[number % len(_COLOURS)]}" fill-opacity="0.2"/>'
    for number, band in enumerate(bands):
        line = [(x_of(0), y_of(1.0)), *((x_of(point.spent), y_of(point.best.value)) for point in band.points)]
        yield f'<path d="M{_joined(line)}" {_stroke(number)}/>'


def _frame(axis: Axis, end: float, left: int, top: int, ceiling: float) -> Iterator[str]:
    bottom, middle = top + _PANEL_HEIGHT, left + _PANEL_WIDTH / 2
    yield f'<path d="M{left} {top}V{bottom}h{_PANEL_WIDTH}" fill="none" stroke="{_GREY}"/>'
    yield f'<text x="{left - 6}" y="{bottom}" text-anchor="end" fill="{_GREY}">1x</text>'
    yield f'<text x="{left - 6}" y="{top + 10}" text-anchor="end" fill="{_GREY}">{ceiling:.1f}x</text>'
    yield f'<text x="{middle}" y="{bottom + 18}" text-anchor="middle" fill="{_GREY}">{_AXIS_NAMES[axis]}</text>'
    yield f'<text x="{left + _PANEL_WIDTH}" y="{bottom + 18}" text-anchor="end" fill="{_GREY}">{end:.3g}</text>'


def _stroke(number: int) -> str:
    dashes = _DASHES[number % len(_DASHES)]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'fill="none" stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="2"{dashed}'


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
