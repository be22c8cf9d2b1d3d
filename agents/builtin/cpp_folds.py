"""Folds of a row and running values along it, in C++; `cpp_prelude.py` takes those a kernel calls."""


def _folded_extreme(extreme: str, beats: str) -> str:
    """The extreme of accumulators and lanes; NaN if any of them is."""
    return f"""
template <int COUNT>
INLINE float folded_{extreme}(const Floats (&parts)[COUNT]) {{
  Floats best = parts[0];
  for (int part = 1; part < COUNT; ++part) best = {extreme}imum(best, parts[part]);
  float result = best[0];
  for (int lane = 1; lane < LANES; ++lane)
    result = best[lane] {beats} result || best[lane] != best[lane] ? best[lane] : result;
  return result;
}}
"""


FOLDS: dict[str, str] = {
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
    "folded_max": _folded_extreme("max", ">"),
    "folded_min": _folded_extreme("min", "<"),
    "Moments": r"""
// How many columns were seen, their sum, and their squared distances from their mean, piece by piece.
struct Moments {
  double count = 0, sum = 0, squares = 0;
  // A piece's distances were taken from `middle`, its mean as far as a float holds it.
  void add(double n, double total, double distances, double middle) {
    const double off = middle - total / n;
    squares += distances - n * off * off;
    if (count > 0) {
      const double apart = total / n - sum / count;
      squares += apart * apart * (n * count / (n + count));
    }
    count += n;
    sum += total;
  }
  // Squared distances of these columns from the mean of all of them, those of other threads included.
  double around(double mean) const {
    const double apart = count > 0 ? sum / count - mean : 0;
    return count > 0 ? squares + count * apart * apart : 0;
  }
};
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
"""Every fold and running value; they call elementary functions."""
