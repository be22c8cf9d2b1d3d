"""Elementary functions of C++ candidates, on vectors of floats; `cpp_prelude.py` takes those a kernel calls.

The polynomials are least-squares fits at Chebyshev nodes in float64; the tests measure every function against float64.
"""

ELEMENTARY: dict[str, str] = {
    "maximum": r"""
// NaN if either operand is NaN. The instruction takes its second operand where one is NaN: b has been asked before,
// so that what is folded into `a` waits for one instruction alone.
INLINE Floats maximum(Floats a, Floats b) {
#if defined(__AVX512F__) && LANES == 16
  const __m512 new_ = (__m512)b;
  return (Floats)_mm512_mask_max_ps(new_, _mm512_cmp_ps_mask(new_, new_, _CMP_ORD_Q), new_, (__m512)a);
#else
  return chosen((b > a) | (b != b), b, a);
#endif
}
""",
    "minimum": r"""
// NaN if either operand is NaN. The instruction takes its second operand where one is NaN: b has been asked before,
// so that what is folded into `a` waits for one instruction alone.
INLINE Floats minimum(Floats a, Floats b) {
#if defined(__AVX512F__) && LANES == 16
  const __m512 new_ = (__m512)b;
  return (Floats)_mm512_mask_min_ps(new_, _mm512_cmp_ps_mask(new_, new_, _CMP_ORD_Q), new_, (__m512)a);
#else
  return chosen((b < a) | (b != b), b, a);
#endif
}
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
}
"""Every elementary function; those that call others stand after them."""
