"""How C++ candidates hold elements and walk over them: vectors, blocks of a row, threads.

`cpp_prelude.py` puts it at the head of every candidate. Vectors are GCC's (Clang has them too), so one source serves
AVX-512, AVX2 and NEON, and NaN and infinities behave as in PyTorch without relying on compiler flags.
"""

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
  INLINE Floats load(const uint8_t* from) const {  // booleans
    typedef uint8_t Bytes __attribute__((vector_size(LANES)));
    Bytes bytes;
    memcpy(&bytes, from, sizeof bytes);
    return __builtin_convertvector(bytes, Floats);
  }
  template <class Number>
  INLINE Floats gather(const Number* from, int64_t stride) const {
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
  template <class Number>
  INLINE Floats load(const Number* from) const { return gather(from, 1); }
  template <class Number>
  INLINE Floats gather(const Number* from, int64_t stride) const {
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
