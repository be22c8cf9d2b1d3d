"""Pooling in C++: the fold of what lies under a window, for LANES neighbouring places at once.

`cpp_kernels.py` asks for the text of a `Pooled` value; `cpp_prelude.py` takes the functions that a kernel calls.
"""

from collections.abc import Sequence

from everforge.agents.builtin.plan import Pooled, Window

_NO_WINDOW = Window(size=1, stride=1, padding=0, dilation=1, extent=1)
_RANK = 3  # the functions take depth, height and width; images of fewer dimensions have one element along the others


def pooled_text(value: Pooled, leading: str, places: Sequence[str], moves: bool) -> str:
    """The expression for a fold at `places` of the image number `leading`.

    With `moves`, lanes are at neighbouring places along the last dimension, else all at the same.
    """
    missing = _RANK - len(value.windows)
    windows = [*[_NO_WINDOW] * missing, *value.windows]
    starts = [
        f"({place}) * {window.stride} - {window.padding}"
        for place, window in zip([*["0"] * missing, *places], windows, strict=True)
    ]
    step = windows[-1].stride if moves else 0
    sides = [f"Side<{window.extent}, {window.size}, {window.dilation}>" for window in windows]
    if value.op == "count":
        return f"window_count<{step}, {', '.join(sides)}>({', '.join(starts)})"
    image = " * ".join(str(window.extent) for window in value.windows)
    pointer = f"{value.buffer} + ({leading}) * ({image})"
    return f"window_{value.op}<{step}, {', '.join(sides)}>({', '.join([pointer, *starts])})"


WINDOWED: dict[str, str] = {
    "places": r"""
// The numbers of neighbouring columns.
INLINE Floats places(int64_t first) {
  Floats result;
  for (int lane = 0; lane < LANES; ++lane) result[lane] = (float)(first + lane);
  return result;
}
""",
    "Side": r"""
// One dimension of an image and of the windows on it.
template <int EXTENT, int TAPS, int GAP>
struct Side {
  static constexpr int64_t extent = EXTENT, taps = TAPS, gap = GAP, reach = (TAPS - 1) * GAP;
  static INLINE bool holds(int64_t at) { return (uint64_t)at < (uint64_t)EXTENT; }
};
""",
    "folded_under": r"""
// Elements of a row at `at`, `at` + STEP, …, all of them in it.
template <int STEP, class W>
INLINE Floats taken(const float* row, int64_t at) {
  if (STEP == 1) return *(const Loose*)(row + at);
  if (STEP == 0) return splat(row[at]);
  if (STEP == 2 && at + 2 * LANES <= W::extent) {
    Mask even;
    for (int lane = 0; lane < LANES; ++lane) even[lane] = 2 * lane;
    return __builtin_shuffle(*(const Loose*)(row + at), *(const Loose*)(row + at + LANES), even);
  }
  return All{}.gather(row + at, STEP);
}

// The same where some lie outside, which are `neutral`. A function of its own: written out for every tap it would
// keep the compiler busy for a minute.
template <int STEP, class W>
__attribute__((noinline)) static Floats taken_at_edge(const float* row, int64_t at, Floats neutral) {
  for (int lane = 0; lane < LANES; ++lane)
    if (W::holds(at + lane * STEP)) neutral[lane] = row[at + lane * STEP];
  return neutral;
}

// Elements of a row from `begin` up to `end`, at most LANES of them, and `neutral` after them.
INLINE Floats stretch(const float* row, int64_t begin, int64_t end, Floats neutral) {
#if defined(__AVX512F__) && LANES == 16
  return (Floats)_mm512_mask_loadu_ps((__m512)neutral, (__mmask16)((1u << (end - begin)) - 1), row + begin);
#else
  for (int64_t at = begin; at < end; ++at) neutral[at - begin] = row[at];
  return neutral;
#endif
}

// Folds wide windows that lie apart one after another, each row of one in a vector.
template <int STEP, class D, class H, class W, class Fold>
INLINE Floats folded_apart(const float* image, int64_t z, int64_t y, int64_t x, Floats neutral, Fold fold) {
  Floats result = neutral;
  for (int lane = 0; lane < LANES; ++lane) {
    const int64_t at = x + lane * STEP, begin = at > 0 ? at : 0;
    const int64_t end = at + W::taps < W::extent ? at + W::taps : W::extent;
    if (begin >= end) continue;
    Floats folded = neutral;
    for (int64_t depth = z; depth <= z + D::reach; depth += D::gap) {
      if (!D::holds(depth)) continue;
      for (int64_t height = y; height <= y + H::reach; height += H::gap)
        if (H::holds(height))
          folded = fold(folded, stretch(image + (depth * H::extent + height) * W::extent, begin, end, neutral));
    }
    for (int half = LANES / 2; half > 0; half /= 2) {
      Mask other;
      for (int place = 0; place < LANES; ++place) other[place] = place ^ half;
      folded = fold(folded, __builtin_shuffle(folded, other));
    }
    result[lane] = folded[0];
  }
  return result;
}

// Folds the taps of a window that begins at (z, y, x), with lanes STEP elements apart.
template <int STEP, class D, class H, class W, class Fold>
INLINE Floats folded_under(const float* image, int64_t z, int64_t y, int64_t x, Floats neutral, Fold fold) {
  if constexpr (STEP > 2 && W::taps > 4 && W::taps <= LANES && W::gap == 1)
    return folded_apart<STEP, D, H, W>(image, z, y, x, neutral, fold);
  const bool inner = x >= 0 && x + (LANES - 1) * STEP + W::reach < W::extent;
  Floats folded = neutral;
  for (int64_t depth = z; depth <= z + D::reach; depth += D::gap) {
    if (!D::holds(depth)) continue;
    for (int64_t height = y; height <= y + H::reach; height += H::gap) {
      if (!H::holds(height)) continue;
      const float* row = image + (depth * H::extent + height) * W::extent;
      if (inner) {
        for (int tap = 0; tap < W::taps; ++tap) folded = fold(folded, taken<STEP, W>(row, x + tap * W::gap));
      } else {
#pragma GCC unroll 1
        for (int tap = 0; tap < W::taps; ++tap)
          folded = fold(folded, taken_at_edge<STEP, W>(row, x + tap * W::gap, neutral));
      }
    }
  }
  return folded;
}
""",
    "window_max": r"""
template <int STEP, class D, class H, class W>
INLINE Floats window_max(const float* image, int64_t z, int64_t y, int64_t x) {
  return folded_under<STEP, D, H, W>(image, z, y, x, splat(-INFINITY),
                                     [](Floats a, Floats b) LAMBDA { return maximum(a, b); });
}
""",
    "window_sum": r"""
template <int STEP, class D, class H, class W>
INLINE Floats window_sum(const float* image, int64_t z, int64_t y, int64_t x) {
  return folded_under<STEP, D, H, W>(image, z, y, x, splat(0.f), [](Floats a, Floats b) LAMBDA { return a + b; });
}
""",
    "window_count": r"""
// How many taps without gaps lie inside the image.
template <int STEP, class D, class H, class W>
INLINE Floats window_count(int64_t z, int64_t y, int64_t x) {
  Floats result;
  for (int lane = 0; lane < LANES; ++lane) {
    int64_t count = 1;
    const int64_t starts[3] = {z, y, x + lane * STEP};
    const int64_t extents[3] = {D::extent, H::extent, W::extent}, taps[3] = {D::taps, H::taps, W::taps};
    for (int side = 0; side < 3; ++side) {
      const int64_t end = starts[side] + taps[side] < extents[side] ? starts[side] + taps[side] : extents[side];
      count *= end - (starts[side] > 0 ? starts[side] : 0);
    }
    result[lane] = (float)count;
  }
  return result;
}
""",
}
"""Functions of pooling and of positions."""
