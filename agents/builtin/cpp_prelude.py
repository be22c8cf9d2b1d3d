"""What every C++ candidate starts with: vectors, elementary functions on them, folds and running sums.

`cpp_emitter.py` puts the parts a kernel calls in front of it. Vectors are GCC's (Clang has them too), so one source
serves AVX-512, AVX2 and NEON, and NaN and infinities behave as in PyTorch without relying on compiler flags. The
polynomials are least-squares fits at Chebyshev nodes in float64; the tests measure every function against float64.
"""

import re

VECTORS = r"""
// LANES floats at once. A Mask has all bits of a lane set where a comparison holds.
typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef float Loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));  // at any address
typedef int32_t Mask __attribute__((vector_size(LANES * 4)));
#define INLINE inline __attribute__((always_inline))
#define LAMBDA __attribute__((always_inline))

INLINE Floats splat(float number) { return Floats{} + number; }
INLINE Floats chosen(Mask where, Floats yes, Floats no) { return where ? yes : no; }
INLINE Floats truth(Mask where) { return where ? splat(1.f) : splat(0.f); }
INLINE Floats bits(Mask pattern) { return (Floats)pattern; }
"""

ACCESS = r"""
// How a block of LANES elements is reached: All of them, or the First few at the end of a row.
struct All {
  INLINE Floats load(const float* from) const { return *(const Loose*)from; }
  INLINE Floats gather(const float* from, int64_t stride) const {
    Floats result;
    for (int lane = 0; lane < LANES; ++lane) result[lane] = from[lane * stride];
    return result;
  }
  INLINE void store(float* to, Floats value) const { *(Loose*)to = value; }
  INLINE void stream(float* to, Floats value) const {
#if defined(__AVX512F__) && LANES == 16
    if (((uintptr_t)to & 63) == 0) return _mm512_stream_ps(to, (__m512)value);
#endif
    store(to, value);
  }
  INLINE Floats keep(Floats value, float) const { return value; }
};
struct First {
  int count;
  INLINE Floats load(const float* from) const { return gather(from, 1); }
  INLINE Floats gather(const float* from, int64_t stride) const {
    Floats result = {};
    for (int lane = 0; lane < count; ++lane) result[lane] = from[lane * stride];
    return result;
  }
  INLINE void store(float* to, Floats value) const {
    for (int lane = 0; lane < count; ++lane) to[lane] = value[lane];
  }
  INLINE void stream(float* to, Floats value) const { store(to, value); }
  INLINE Floats keep(Floats value, float neutral) const {  // so that missing lanes do not count in a fold
    for (int lane = 0; lane < LANES; ++lane) value[lane] = lane < count ? value[lane] : neutral;
    return value;
  }
};

// Calls body(how, column, part) for all columns; `part` numbers UNROLL independent accumulators.
template <int UNROLL, class Body>
INLINE void walk(int64_t begin, int64_t end, Body body) {
  int64_t j = begin;
  for (; j + UNROLL * LANES <= end; j += UNROLL * LANES) {
#pragma GCC unroll 8
    for (int part = 0; part < UNROLL; ++part) body(All{}, j + part * LANES, part);
  }
  for (; j + LANES <= end; j += LANES) body(All{}, j, 0);
  if (j < end) body(First{(int)(end - j)}, j, 0);
}
"""

TEAMS = r"""
// Threads that share a row when there are fewer rows than threads; else every thread has rows of its own.
struct Crew {
  int member, members;
  double* slots;   // one for each member, to combine what each has folded of its columns
  float* scratch;  // this thread's, for values kept from one sweep over the row to the next
  template <class Combine>
  double combined(double mine, Combine combine) {
    if (members == 1) return mine;
    slots[member * 8] = mine;
#pragma omp barrier
    double all = slots[0];
    for (int other = 1; other < members; ++other) all = combine(all, slots[other * 8]);
#pragma omp barrier
    return all;
  }
};

static float* scratch_of_thread(int64_t count) {
  static thread_local float* memory = nullptr;
  static thread_local int64_t held = 0;
  if (count > held) {
    free(memory);
    held = (count + 1023) / 1024 * 1024;
    memory = (float*)aligned_alloc(64, held * sizeof(float));
  }
  return memory;
}

// New memory is given out page by page as it is first written: 1.4 us for 4 KiB, more than computing what goes there.
// Pages of 2 MiB cost a quarter of that for each byte. A hint only: systems without them ignore it.
static void expect_large(float* to, int64_t count) {
#if defined(__linux__)
  const uintptr_t large = 1 << 21, first = ((uintptr_t)to + large - 1) & ~(large - 1);
  const uintptr_t end = (uintptr_t)(to + count) & ~(large - 1);
  if (end >= first + 2 * large) madvise((void*)first, end - first, MADV_HUGEPAGE);
#endif
}

// Calls body(row, crew) for every row. Small work stays on one thread: waking another costs about 5 us.
template <class Body>
INLINE void for_rows(int64_t rows, int64_t columns, int64_t kept, bool shares, int threads, Body body) {
  if (rows * columns < 16384) threads = 1;
  const bool share = shares && rows < threads;
  double slots[64 * 8];
  if (threads > 64) threads = 64;
#pragma omp parallel num_threads(threads)
  {
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    Crew crew = {share ? thread : 0, share ? team : 1, slots, scratch_of_thread(kept * columns)};
    const int64_t first = share ? 0 : rows * thread / team, last = share ? rows : rows * (thread + 1) / team;
    for (int64_t row = first; row < last; ++row) body(row, crew);
  }
}

// Calls body(row, begin, end) for pieces of at most CHUNK columns.
template <int CHUNK, class Body>
INLINE void for_pieces(int64_t rows, int64_t columns, int threads, Body body) {
  if (rows * columns < 16384) threads = 1;
  const int64_t pieces = (columns + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t task = 0; task < rows * pieces; ++task) {
    const int64_t row = task / pieces, begin = task % pieces * CHUNK;
    body(row, begin, begin + CHUNK < columns ? begin + CHUNK : columns);
  }
}
"""

FUNCTIONS: dict[str, str] = {
    "maximum": r"""
// NaN if either operand is NaN.
INLINE Floats maximum(Floats a, Floats b) { return chosen((b > a) | (b != b), b, a); }
""",
    "minimum": r"""
// NaN if either operand is NaN.
INLINE Floats minimum(Floats a, Floats b) { return chosen((b < a) | (b != b), b, a); }
""",
    "lanewise": r"""
// One lane after another; the compiler knows vector instructions for roots and rounding.
template <class Function>
INLINE Floats lanewise(Floats x, Function function) {
  for (int lane = 0; lane < LANES; ++lane) x[lane] = function(x[lane]);
  return x;
}
""",
    "sqrt_": r"""
INLINE Floats sqrt_(Floats x) { return lanewise(x, [](float v) LAMBDA { return __builtin_sqrtf(v); }); }
""",
    "floor_": r"""
INLINE Floats floor_(Floats x) { return lanewise(x, [](float v) LAMBDA { return __builtin_floorf(v); }); }
""",
    "ceil_": r"""
INLINE Floats ceil_(Floats x) { return lanewise(x, [](float v) LAMBDA { return __builtin_ceilf(v); }); }
""",
    "sin_": r"""
INLINE Floats sin_(Floats x) { return lanewise(x, [](float v) { return sinf(v); }); }
""",
    "cos_": r"""
INLINE Floats cos_(Floats x) { return lanewise(x, [](float v) { return cosf(v); }); }
""",
    "pow_": r"""
INLINE Floats pow_(Floats x, Floats y) {
  for (int lane = 0; lane < LANES; ++lane) x[lane] = powf(x[lane], y[lane]);
  return x;
}
""",
    "abs_": r"""
INLINE Floats abs_(Floats x) { return (Floats)((Mask)x & 0x7fffffff); }
""",
    "sign_": r"""
INLINE Floats sign_(Floats x) { return truth(x > 0.f) - truth(x < 0.f); }  // as in PyTorch, 0 for NaN
""",
    "exp_": r"""
// e^x = 2^n · e^r with n = round(x / ln 2) and |r| <= ln 2 / 2; r from a ln 2 in two parts.
INLINE Floats exp_(Floats x) {
#if defined(__AVX512F__) && LANES == 16
  x = (Floats)_mm512_max_ps(_mm512_set1_ps(-150.f), _mm512_min_ps(_mm512_set1_ps(150.f), (__m512)x));  // keeps NaN
#else
  x = chosen(x < -150.f, splat(-150.f), x);
  x = chosen(x > 150.f, splat(150.f), x);
#endif
  const Floats shifted = x * 1.44269504f + 12582912.f;  // 1.5 · 2^23: rounds to an integer in the low bits
  const Floats n = shifted - 12582912.f;
  const Floats r = (x - n * 0.693145751953125f) - n * 1.42860682e-6f;
  Floats p = r * 0.00139336912f + 0.00836318336f;
  p = p * r + 0.0416664583f;
  p = p * r + 0.16666577f;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.f;
#if defined(__AVX512F__) && LANES == 16
  return (Floats)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  const Mask whole = (Mask)shifted - 0x4b400000, half = whole >> 1;  // in two steps, for subnormal results
  return p * bits((half + 127) << 23) * bits((whole - half + 127) << 23);
#endif
}
""",
    "expm1_": r"""
// Near 0 by its own polynomial, since e^x - 1 would cancel.
INLINE Floats expm1_(Floats x) {
  Floats p = x * 0.00139336912f + 0.00836318336f;
  p = p * x + 0.0416664583f;
  p = p * x + 0.16666577f;
  p = p * x + 0.5f;
  return chosen(abs_(x) < 0.34f, p * (x * x) + x, exp_(x) - 1.f);
}
""",
    "log_": r"""
// log x = e · ln 2 + log m with m in [√½, √2); e · ln 2 in two parts.
INLINE Floats log_(Floats x) {
  const Mask tiny = x < 1.17549435e-38f;
  const Floats scaled = chosen(tiny, x * 8388608.f, x);  // subnormal numbers, times 2^23
  const Mask pattern = (Mask)scaled, biased = pattern - 0x3f3504f3;
  const Mask exponent = biased >> 23;
  const Floats f = bits(pattern - (exponent << 23)) - 1.f;
  const Floats e = __builtin_convertvector(exponent, Floats) - chosen(tiny, splat(23.f), splat(0.f));
  Floats p = f * 0.0714975425f - 0.115712011f;
  p = p * f + 0.116615115f;
  p = p * f - 0.124110511f;
  p = p * f + 0.142499366f;
  p = p * f - 0.166684801f;
  p = p * f + 0.200007068f;
  p = p * f - 0.249999886f;
  p = p * f + 0.333333308f;
  Floats result = (p * f - 0.5f) * (f * f) + e * -2.12194440e-4f + f + e * 0.693359375f;
  result = chosen(x == 0.f, splat(-INFINITY), result);
  result = chosen(x == INFINITY, x, result);
  return chosen((x < 0.f) | (x != x), splat(NAN), result);
}
""",
    "log1p_": r"""
// log(1 + x), with what 1 + x rounded away put back to first order.
INLINE Floats log1p_(Floats x) {
  const Floats u = 1.f + x, lost = u - 1.f;
  const Floats ratio = chosen((lost == 0.f) | (u == INFINITY), splat(1.f), x / lost);
  return chosen(lost == 0.f, x, log_(u) * ratio);
}
""",
    "tanh_": r"""
// Odd polynomial near 0; elsewhere 1 - 2 / (e^2|x| + 1) with x's sign.
INLINE Floats tanh_(Floats x) {
  const Floats s = x * x, size = abs_(x);
  Floats p = s * -0.00610495213f + 0.0210036399f;
  p = p * s - 0.0538524988f;
  p = p * s + 0.133327817f;
  p = p * s - 0.333333293f;
  const Floats large = 1.f - 2.f / (exp_(size * 2.f) + 1.f);
  const Floats with_sign = (Floats)((Mask)large | ((Mask)x & (int32_t)0x80000000));
  return chosen(size < 0.625f, p * s * x + x, with_sign);
}
""",
    "erf_": r"""
// Odd polynomial below 1; elsewhere 1 - e^-q(|x|) with x's sign, 1 from 4 on.
INLINE Floats erf_(Floats x) {
  const Floats s = x * x, size = abs_(x);
  Floats p = s * -9.67359088e-6f + 1.12682539e-4f;
  p = p * s - 8.48439655e-4f;
  p = p * s + 5.22105341e-3f;
  p = p * s - 0.0268654383f;
  p = p * s + 0.112837826f;
  p = p * s - 0.376126385f;
  p = p * s + 1.12837917f;
  Floats q = size * -1.61406165e-6f + 4.55906234e-5f;
  q = q * size - 5.92769546e-4f;
  q = q * size + 4.74022238e-3f;
  q = q * size - 0.0263647175f;
  q = q * size + 0.109978245f;
  q = q * size + 0.631937093f;
  q = q * size + 1.13016668f;
  q = q * size - 3.03213010e-4f;
  const Floats large = chosen(size < 4.f, 1.f - exp_(-q), splat(1.f));
  const Floats with_sign = (Floats)((Mask)large | ((Mask)x & (int32_t)0x80000000));
  return chosen(x != x, x, chosen(size < 1.f, p * x, with_sign));
}
""",
    "sigmoid_": r"""
INLINE Floats sigmoid_(Floats x) { return 1.f / (1.f + exp_(-x)); }
""",
    "folded_sum": r"""
// Sum over accumulators and lanes, in double.
template <int COUNT>
INLINE double folded_sum(const Floats (&parts)[COUNT]) {
  Floats total = parts[0];
  for (int part = 1; part < COUNT; ++part) total += parts[part];
  double sum = 0;
  for (int lane = 0; lane < LANES; ++lane) sum += total[lane];
  return sum;
}
""",
    "folded_prod": r"""
template <int COUNT>
INLINE double folded_prod(const Floats (&parts)[COUNT]) {
  double product = 1;
  for (int part = 0; part < COUNT; ++part)
    for (int lane = 0; lane < LANES; ++lane) product *= parts[part][lane];
  return product;
}
""",
    "folded_max": r"""
template <int COUNT>
INLINE float folded_max(const Floats (&parts)[COUNT]) {
  Floats most = parts[0];
  for (int part = 1; part < COUNT; ++part) most = maximum(most, parts[part]);
  float result = most[0];
  for (int lane = 1; lane < LANES; ++lane)
    result = most[lane] > result || most[lane] != most[lane] ? most[lane] : result;
  return result;
}
""",
    "folded_min": r"""
template <int COUNT>
INLINE float folded_min(const Floats (&parts)[COUNT]) {
  Floats least = parts[0];
  for (int part = 1; part < COUNT; ++part) least = minimum(least, parts[part]);
  float result = least[0];
  for (int lane = 1; lane < LANES; ++lane)
    result = least[lane] < result || least[lane] != least[lane] ? least[lane] : result;
  return result;
}
""",
    "running_sum": r"""
// Inclusive sums of a block in double, continued from `carry`: log2 steps of shift and add in each half, so that
// blocks depend on each other through one scalar addition only.
typedef double Doubles __attribute__((vector_size(LANES * 4)));
typedef int64_t Places __attribute__((vector_size(LANES * 4)));
typedef float Half __attribute__((vector_size(LANES * 2)));
INLINE Doubles summed_along(Doubles x) {
  for (int step = 1; step < LANES / 2; step *= 2) {
    Places from;
    for (int lane = 0; lane < LANES / 2; ++lane) from[lane] = lane < step ? LANES / 2 : lane - step;
    x += __builtin_shuffle(x, Doubles{}, from);
  }
  return x;
}
INLINE Floats running_sum(Floats x, double& carry) {
  Half low, high;
  memcpy(&low, &x, sizeof low);
  memcpy(&high, (const char*)&x + sizeof low, sizeof high);
  Doubles first = summed_along(__builtin_convertvector(low, Doubles));
  Doubles second = summed_along(__builtin_convertvector(high, Doubles));
  const double middle = carry + first[LANES / 2 - 1];
  first += carry;
  carry = middle + second[LANES / 2 - 1];
  low = __builtin_convertvector(first, Half);
  high = __builtin_convertvector(second + middle, Half);
  memcpy(&x, &low, sizeof low);
  memcpy((char*)&x + sizeof low, &high, sizeof high);
  return x;
}
""",
    "running_prod": r"""
INLINE Floats running_prod(Floats x, double& carry) {
  for (int lane = 0; lane < LANES; ++lane) x[lane] = (float)(carry *= x[lane]);
  return x;
}
""",
}
"""Every function a kernel may call; those that call others stand after them."""


def prelude(kernels: str, lanes: int) -> str:
    """Includes, vectors, access, and of FUNCTIONS those that `kernels` calls, directly or not."""
    needed: set[str] = set()
    text = kernels
    for name in reversed(FUNCTIONS):
        if re.search(rf"\b{name}\(", text):
            needed.add(name)
            text += FUNCTIONS[name]
    functions = "".join(body for name, body in FUNCTIONS.items() if name in needed)
    return _INCLUDES.format(lanes=lanes) + VECTORS + ACCESS + TEAMS + functions


_INCLUDES = """#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif
#define LANES {lanes}
"""
