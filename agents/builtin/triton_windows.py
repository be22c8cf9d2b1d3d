"""Pooling in Triton: the device functions that fold what lies under a window, and their calls.

`triton_values.py` asks for the text of a `Pooled` value and `triton_math.py` for the functions. Every lane has a place
of its own and walks over the taps of its window: neighbouring lanes read neighbouring elements, and what the windows
of a program share comes from L1.
"""

from everforge.agents.builtin.plan import Pooled, Window
from everforge.agents.builtin.triton_domain import Domain

_NO_WINDOW = Window(size=1, stride=1, padding=0, dilation=1, extent=1)
_RANK = 3  # device functions take depth, height and width; images of fewer dimensions have one element along the others


def pooled_text(value: Pooled, domain: Domain, mask: str, bounded: bool = False) -> str:
    """The expression for a window's fold at each place, where `mask` says which lanes have one.

    Taps are compared with the buffer's edges where some window of the domain passes them, or if `bounded`.
    """
    windows = (*[_NO_WINDOW] * (_RANK - len(value.windows)), *value.windows)
    starts = [_start(window, domain) for window in windows]
    if value.op == "count":
        counts = [_inside(window, start) for window, start in zip(windows, starts, strict=True) if window.size > 1]
        return f"({' * '.join(counts)}).to(tl.float32)" if counts else f"tl.full({mask}.shape, 1.0, tl.float32)"
    image = " * ".join(str(window.extent) for window in value.windows)
    place = domain.index(value.leading())
    pointer = f"{value.buffer}_ptr" + ("" if place == "0" else f" + ({place}).to(tl.int64) * ({image})")
    sides = "DHW"
    extents = [f"{side}={window.extent}" for side, window in zip(sides, windows, strict=True)]
    taps = [f"TAPS_{side}={window.size}" for side, window in zip(sides, windows, strict=True) if window.size > 1]
    gaps = [f"GAP_{side}={window.dilation}" for side, window in zip(sides, windows, strict=True) if window.dilation > 1]
    bounded = bounded or any(_passes_edges(window, domain) for window in value.windows)
    arguments = [pointer, *starts, mask, *extents, *taps, *gaps, *(["BOUNDED=True"] if bounded else [])]
    return f"_window_{value.op}({', '.join(arguments)})"


def _start(window: Window, domain: Domain) -> str:
    """The first tap's position along a dimension."""
    place = domain.index(window.axes)
    if place != "0" and window.stride > 1:
        place = f"({place}) * {window.stride}"
    if window.padding < 0:
        return f"{place} + {-window.padding}"
    return f"{place} - {window.padding}" if window.padding else place


def _inside(window: Window, start: str) -> str:
    """How many taps without gaps lie inside the buffer along a dimension."""
    return f"(tl.minimum({start} + {window.size}, {window.extent}) - tl.maximum({start}, 0))"


def _passes_edges(window: Window, domain: Domain) -> bool:
    """Whether some window of a region reaches beyond the buffer."""
    last = (domain.literal(window.axes) - 1) * window.stride - window.padding
    return window.padding > 0 or last + (window.size - 1) * window.dilation >= window.extent


_WALK = '''

@triton.jit
def _window_{op}(
    image, z, y, x, live, D: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
    TAPS_D: tl.constexpr = 1, TAPS_H: tl.constexpr = 1, TAPS_W: tl.constexpr = 1,
    GAP_D: tl.constexpr = 1, GAP_H: tl.constexpr = 1, GAP_W: tl.constexpr = 1, BOUNDED: tl.constexpr = False,
):
    """{purpose} of the taps at (z, y, x) and after it in an image of D x H x W; {outside}."""
    folded = tl.full(live.shape, {neutral}, tl.float32)
    for row in range(TAPS_D * TAPS_H):
        depth, height = z + row // TAPS_H * GAP_D, y + row % TAPS_H * GAP_H
        first = image + ((depth * H + height) * W + x)
        within = live
        if BOUNDED:
            within &= (depth >= 0) & (depth < D) & (height >= 0) & (height < H)
        for tap in tl.static_range(TAPS_W):
            inside = within
            if BOUNDED:
                inside &= (x >= -tap * GAP_W) & (x < W - tap * GAP_W)
            element = tl.load(first + tap * GAP_W, mask=inside, other={neutral})
            folded = {fold}
    return folded
'''

WINDOW_FUNCTIONS: dict[str, str] = {
    "_window_max": _WALK.format(
        op="max",
        purpose="Largest",
        outside="NaN if one is",
        neutral='float("-inf")',
        fold="tl.maximum(folded, element.to(tl.float32), propagate_nan=tl.PropagateNan.ALL)",
    ),
    "_window_sum": _WALK.format(
        op="sum",
        purpose="Sum",
        outside="those outside are 0",
        neutral="0.0",
        fold="folded + element.to(tl.float32)",
    ),
}
"""Device functions by name."""
