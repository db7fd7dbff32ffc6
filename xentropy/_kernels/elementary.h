/* exp, the sigmoid and logarithms of vectors. A template: see isa.h. tools/generate_coefficients.py computes the
 * coefficients, and tests/test_simd.py measures the bounds.
 */
#ifndef REAL
#include "vectors.h"
#else

#define XE_COEFFICIENTS_(name, real) XE_##name##_##real
#define XE_COEFFICIENTS__(name, real) XE_COEFFICIENTS_(name, real)
#define XE_COEFFICIENTS(name) XE_COEFFICIENTS__(name, REAL)

/* ---- exp ---- */

#if XE_IS_FLOAT
#define MANTISSA 23
#define BIAS 127
#define MAGIC 0x1.8p23f
#else
#define MANTISSA 52
#define BIAS 1023
#define MAGIC 0x1.8p52
#endif

/* Where exp ends. Below `lowest` it is 0 without an underflow, which takes some hundred cycles on many processors.
 * 2^n is `scale` times the number whose exponent is in the low bits of n + shift, and 0 if n is the lowest. */
typedef struct {
    V lowest, shift, scale;
} XE(exp_end);

/* With denormals, exp goes on to the smallest number; otherwise it ends near the smallest normal one. A denormal
 * result is rounded once, when a normal one is multiplied by `scale`. */
XE_INLINE XE(exp_end) XE(exp_ends)(const int denormals)
{
    enum { DIGITS = MANTISSA + 2 };
    const REAL n = denormals ? -BIAS - DIGITS : -BIAS;
    const REAL scale = denormals ? (REAL)1 / (REAL)((uint64_t)1 << DIGITS) : 1;
    return (XE(exp_end)){XE(set1)(n / (REAL)XE_COEFFICIENTS(LOG2E)), XE(set1)(MAGIC - n), XE(set1)(scale)};
}

#define EXPS 4 /* the most vectors that exps_to takes */

/* Computes exp(x) within 1 ulp for x <= 0, also for denormal results, -inf and NaN: x = n log 2 + r, |r| <= log(2) /
 * 2. Several vectors go through each step together, since each step of one waits for the step before. */
XE_INLINE void XE(exps_to)(const XE(exp_end) *end, V *x, const int n_vectors)
{
    static const REAL poly[] = {XE_COEFFICIENTS(EXP_POLY)};
    V shifted[EXPS], p[EXPS];
    XE_UNROLL
    for (int i = 0; i < n_vectors; i++) {
#if !XE_SCALEF
        x[i] = XE(max)(end->lowest, x[i]); /* NaN stays NaN */
#endif
        shifted[i] = x[i] * (REAL)XE_COEFFICIENTS(LOG2E) + end->shift;
    }
#if XE_SCALEF
    M vanishes[EXPS];
    XE_UNROLL
    for (int i = 0; i < n_vectors; i++) vanishes[i] = XE(less)(x[i], end->lowest);
#endif
    XE_UNROLL
    for (int i = 0; i < n_vectors; i++) {
        const V n = shifted[i] - end->shift; /* x / log 2, to the nearest integer */
        x[i] = (x[i] - n * (REAL)XE_COEFFICIENTS(LN2_HIGH)) - n * (REAL)XE_COEFFICIENTS(LN2_LOW);
        p[i] = XE(set1)(poly[0]);
    }
    XE_UNROLL
    for (size_t j = 1; j < sizeof poly / sizeof *poly; j++)
        XE_UNROLL
        for (int i = 0; i < n_vectors; i++) p[i] = p[i] * x[i] + poly[j];
#if XE_FMA
    XE_UNROLL
    for (int step = 0; step < 2; step++)
        XE_UNROLL
        for (int i = 0; i < n_vectors; i++) p[i] = (REAL)1 + x[i] * p[i]; /* two roundings at the end */
#else
    for (int i = 0; i < n_vectors; i++) p[i] = (REAL)1 + (x[i] + x[i] * x[i] * p[i]);
#endif
    XE_UNROLL
    for (int i = 0; i < n_vectors; i++) {
#if XE_SCALEF
        x[i] = XE(scalef_unless)(vanishes[i], p[i], shifted[i] - end->shift);
#else
        /* the low bits of `shifted` hold n, so a left shift is enough: AVX2 has no arithmetic right shift of 64-bit
         * lanes */
        x[i] = p[i] * XE(from_bits)(XE(to_bits)(shifted[i]) << MANTISSA) * end->scale;
#endif
    }
}

XE_INLINE V XE(exp_to)(const XE(exp_end) *end, V x)
{
    XE(exps_to)(end, &x, 1);
    return x;
}

/* The same with denormals. */
XE_INLINE V XE(vexp)(V x)
{
    const XE(exp_end) end = XE(exp_ends)(1);
    return XE(exp_to)(&end, x);
}

#if !XE_IS_FLOAT
/* Returns a b - c, where c is nearly a b, exact but for its own rounding. */
XE_INLINE V XE(product_less)(V a, V b, V c)
{
#if XE_FMSUB
    return XE(fmsub)(a, b, c);
#else
    /* T. J. Dekker, Numerische Mathematik 18 (1971): halves of 26 bits, whose products are exact */
    const BITS half = ~(BITS){0} << 27;
    const V a_high = XE(from_bits)(XE(to_bits)(a) & half), b_high = XE(from_bits)(XE(to_bits)(b) & half);
    const V a_low = a - a_high, b_low = b - b_high;
    return (((a_high * b_high - c) + a_high * b_low) + a_low * b_high) + a_low * b_low;
#endif
}

/* Returns sigmoid(x), and sigmoid(-x) in other, for x <= 0, within 1 ulp, also for -inf and NaN: they are q / (1 +
 * q) and 1 / (1 + q), q = exp(x). The rounding errors of exp and of the sum are kept, and correct the quotient once. */
XE_INLINE V XE(sigmoid_pair)(V x, V *other)
{
    static const REAL poly[] = {XE_COEFFICIENTS(EXP_POLY)};
    const V one = XE(set1)(1);
    const XE(exp_end) end = XE(exp_ends)(1);
    x = XE(max)(end.lowest, x);
    const V shifted = x * XE_COEFFICIENTS(LOG2E) + end.shift, n = shifted - end.shift;
    const V high = x - n * XE_COEFFICIENTS(LN2_HIGH), low = n * XE_COEFFICIENTS(LN2_LOW);
    const V r = high - low, r_lost = (high - r) - low;
    V f = XE(set1)(poly[0]);
    for (size_t i = 1; i < sizeof poly / sizeof *poly; i++) f = f * r + poly[i];
    const V t = r * r * f, s = r + t, s_lost = (r - s) + t;
    const V p = one + s, p_lost = ((one - p) + s) + (s_lost + r_lost);
    const V power = XE(from_bits)(XE(to_bits)(shifted) << MANTISSA);
    const V q = p * power * end.scale, q_lost = p_lost * power * end.scale;
    const V d = one + q, d_lost = ((one - d) + q) + q_lost;
    const V inverse = one / d;
    /* 1/d and the quotient are nearly right, so the corrections are small and need not be exact */
    *other = inverse - (XE(product_less)(inverse, d, one) + inverse * d_lost) * inverse;
    const V y = q * inverse;
    return y - ((XE(product_less)(y, d, q) - q_lost) + y * d_lost) * inverse;
}
#endif

#undef MANTISSA
#undef BIAS
#undef MAGIC

/* ---- logarithms of doubles ---- */

#if !XE_IS_FLOAT
/* For a normal u = 2^k (1 + f), 1/sqrt(2) <= 1 + f < sqrt(2): returns f, which is exact, and k. */
XE_INLINE V XE(log_reduce)(V u, V *k)
{
    const uint64_t root = 0x3fe6a09e667f3bcd, bias = 1024; /* 1/sqrt(2), and a bias that keeps every exponent above 0 */
    const BITS above = XE(to_bits)(u) + ((bias << 52) - root);
    *k = XE(from_bits)((above >> 52) | XE(to_bits)(XE(set1)(0x1p52))) - (0x1p52 + (double)bias);
    return XE(from_bits)((above & (((uint64_t)1 << 52) - 1)) + root) - 1.0;
}

/* Returns log(2^k (1 + f)) + lost. */
XE_INLINE V XE(log_sum)(V k, V f, V lost)
{
    static const double poly[] = {XE_LOG_POLY};
    const V s = f / (2.0 + f), z = s * s;
    V q = XE(set1)(poly[0]);
    for (size_t i = 1; i < sizeof poly / sizeof *poly; i++) q = q * z + poly[i];
    const V half = 0.5 * f * f;
    const V log_f = s * (half + z * q) + (k * XE_LN2_LOW_double + lost);
    return k * XE_LN2_HIGH_double - ((half - log_f) - f);
}

/* Returns log(x) within 1 ulp for every x >= 0, also for denormals, inf and NaN. */
XE_INLINE V XE(log)(V x)
{
    const V zero = XE(set1)(0.0);
    const M denormal = XE(less)(x, XE(set1)(0x1p-1022));
    V k;
    const V f = XE(log_reduce)(XE(select)(denormal, x * 0x1p54, x), &k);
    const V log_x = XE(log_sum)(k - XE(select)(denormal, XE(set1)(54.0), zero), f, x - x); /* NaN stays NaN */
    const V at_end = XE(select)(XE(equal)(x, zero), XE(set1)(-INFINITY), log_x);
    return XE(select)(XE(equal)(x, XE(set1)(INFINITY)), x, at_end);
}

/* Returns log(1 + x) within 1 ulp for every x >= 0, also for inf and NaN; the caller needs inverse = 1 / (1 + x)
 * too. */
XE_INLINE V XE(log1p_with)(V x, V inverse)
{
    const V u = 1.0 + x;
    V k;
    const V reduced = XE(log_reduce)(u, &k);
    const M small = XE(equal)(k, XE(set1)(0.0)); /* x is f, and nothing was rounded */
    const V lost = XE(select)(small, XE(set1)(0.0), (x - (u - 1.0)) * inverse); /* this is log(1 + x) - log u */
    const V log_u = XE(log_sum)(k, XE(select)(small, x, reduced), lost);
    return XE(select)(XE(equal)(x, XE(set1)(INFINITY)), x, log_u);
}

XE_INLINE V XE(log1p)(V x)
{
    return XE(log1p_with)(x, 1.0 / (1.0 + x));
}
#endif

#endif
