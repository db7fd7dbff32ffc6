/* AVX2 and FMA. A template: see isa.h, and simd.h for what the operations are. */
#ifndef REAL
#include "vectors.h"
#else

#include <immintrin.h>

#define XE_BYTES 32
#define XE_SHORT_BYTES 32
#define XE_REGISTERS 16
#define XE_TILE 16        /* registers that the accumulators of a tile and the vectors that it loads may fill */
#define XE_MASKED_LOADS 1 /* a part of a vector is loaded without a detour */
#define XE_MASK_REGISTERS 0
#define XE_TRANSPOSES 1
#define XE_GATHERS 1
#define XE_FAST_GATHERS 0
#define XE_SCALEF 0
#define XE_FMSUB 1
/* A vector that several products use is loaded once: gcc 12 would load it for each. */
#define XE_KEEP(a) __asm__("" : "+v"(a))

#undef OP
#undef VECTOR
#if XE_IS_FLOAT
#define OP(name) _mm256_##name##_ps
#define VECTOR __m256
#else
#define OP(name) _mm256_##name##_pd
#define VECTOR __m256d
#endif
#include "vector_extensions.h"

/* all ones in the first n lanes */
XE_INLINE __m256i XE(first_n)(ptrdiff_t n)
{
    static const int8_t ones[64] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    n = n < 0 ? 0 : n > VL ? VL : n;
    return _mm256_loadu_si256((const __m256i *)(ones + 32 - n * (ptrdiff_t)sizeof(REAL)));
}

XE_INLINE V XE(load_n)(const REAL *p, ptrdiff_t n)
{
    return (V)OP(maskload)(p, XE(first_n)(n));
}

XE_INLINE V XE(load_n_or)(const REAL *p, ptrdiff_t n, REAL rest)
{
    return (V)OP(blendv)((VECTOR)XE(set1)(rest), (VECTOR)XE(load_n)(p, n), (VECTOR)XE(first_n)(n));
}

XE_INLINE void XE(store_n)(REAL *p, V a, ptrdiff_t n)
{
    OP(maskstore)(p, XE(first_n)(n), (VECTOR)a);
}

XE_INLINE V XE(select)(M m, V a, V b)
{
    return (V)OP(blendv)((VECTOR)b, (VECTOR)a, (VECTOR)m);
}

XE_INLINE int XE(any)(M m)
{
    return !_mm256_testz_si256((__m256i)m, (__m256i)m);
}

XE_INLINE V XE(max)(V a, V b)
{
    return (V)OP(max)((VECTOR)a, (VECTOR)b);
}

XE_INLINE V XE(min)(V a, V b)
{
    return (V)OP(min)((VECTOR)a, (VECTOR)b);
}

/* ---- across lanes: each is joined with the one half, a quarter, ... of the vector further on ---- */

#define STEP(join, a, ...) a = join(a, __builtin_shufflevector(a, a, __VA_ARGS__))
#if XE_IS_FLOAT
#define REDUCE(join, a)                    \
    STEP(join, a, 4, 5, 6, 7, 0, 1, 2, 3); \
    STEP(join, a, 2, 3, 0, 1, 6, 7, 4, 5); \
    STEP(join, a, 1, 0, 3, 2, 5, 4, 7, 6)
#else
#define REDUCE(join, a)        \
    STEP(join, a, 2, 3, 0, 1); \
    STEP(join, a, 1, 0, 3, 2)
#endif

#define PLUS(a, b) ((a) + (b))
XE_INLINE REAL XE(reduce_add)(V a)
{
    REDUCE(PLUS, a);
    return a[0];
}

XE_INLINE REAL XE(reduce_max)(V a)
{
    REDUCE(XE(max), a);
    return a[0];
}
#undef STEP
#undef REDUCE
#undef PLUS

#undef ROWS
#define ROWS 4
XE_INLINE void XE(reduce_rows)(const V *a, const REAL *start, REAL *to)
{
#define PAIR(a, b) (__builtin_shufflevector(a, b, EVEN) + __builtin_shufflevector(a, b, ODD))
#if XE_IS_FLOAT
#define EVEN 0, 2, 8, 10, 4, 6, 12, 14
#define ODD 1, 3, 9, 11, 5, 7, 13, 15
    const V abcd = PAIR(PAIR(a[0], a[1]), PAIR(a[2], a[3]));
    const __m128 one = (__m128)__builtin_shufflevector(abcd, abcd, 0, 1, 2, 3) +
                       (__m128)__builtin_shufflevector(abcd, abcd, 4, 5, 6, 7);
    _mm_storeu_ps(to, one + (start ? _mm_set1_ps(*start) : _mm_loadu_ps(to)));
#else
#define EVEN 0, 4, 2, 6
#define ODD 1, 5, 3, 7
    const V ab = PAIR(a[0], a[1]), cd = PAIR(a[2], a[3]);
    const V sum = __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    XE(store)(to, sum + (start ? XE(set1)(*start) : XE(load)(to)));
#endif
#undef PAIR
#undef EVEN
#undef ODD
}

/* ---- columns of rows ---- */

#undef LANE
#undef TRANSPOSED
#define LANE ((int)(16 / sizeof(REAL))) /* numbers in 128 bits, within which shuffles are cheap */
#define TRANSPOSED LANE

/* a[0..TRANSPOSED - 1], b[0..TRANSPOSED - 1]; if n < TRANSPOSED, only n of each are read, and the others are zero */
XE_INLINE V XE(load_halves)(const REAL *a, const REAL *b, ptrdiff_t n)
{
    const __m128i mask = _mm256_castsi256_si128(XE(first_n)(n));
#if XE_IS_FLOAT
    const __m128 a_n = n < TRANSPOSED ? _mm_maskload_ps(a, mask) : _mm_loadu_ps(a);
    const __m128 b_n = n < TRANSPOSED ? _mm_maskload_ps(b, mask) : _mm_loadu_ps(b);
    return (V)_mm256_insertf128_ps(_mm256_castps128_ps256(a_n), b_n, 1);
#else
    const __m128d a_n = n < TRANSPOSED ? _mm_maskload_pd(a, mask) : _mm_loadu_pd(a);
    const __m128d b_n = n < TRANSPOSED ? _mm_maskload_pd(b, mask) : _mm_loadu_pd(b);
    return (V)_mm256_insertf128_pd(_mm256_castpd128_pd256(a_n), b_n, 1);
#endif
}

/* Squares of LANE by LANE are transposed in each 128 bits. */
XE_INLINE void XE(transpose)(const REAL *x, const ptrdiff_t *row, ptrdiff_t n, V *to)
{
    V a[LANE];
    XE_UNROLL
    for (int i = 0; i < LANE; i++) a[i] = XE(load_halves)(x + row[i], x + row[LANE + i], n);
#if XE_IS_FLOAT
#define EACH(a, b, c, d) a, b, c, d, a + 4, b + 4, c + 4, d + 4
    const V a01 = __builtin_shufflevector(a[0], a[1], EACH(0, 8, 1, 9));
    const V a23 = __builtin_shufflevector(a[2], a[3], EACH(0, 8, 1, 9));
    const V b01 = __builtin_shufflevector(a[0], a[1], EACH(2, 10, 3, 11));
    const V b23 = __builtin_shufflevector(a[2], a[3], EACH(2, 10, 3, 11));
    to[0] = __builtin_shufflevector(a01, a23, EACH(0, 1, 8, 9));
    to[1] = __builtin_shufflevector(a01, a23, EACH(2, 3, 10, 11));
    to[2] = __builtin_shufflevector(b01, b23, EACH(0, 1, 8, 9));
    to[3] = __builtin_shufflevector(b01, b23, EACH(2, 3, 10, 11));
#else
#define EACH(a, b) a, b, a + 2, b + 2
    to[0] = __builtin_shufflevector(a[0], a[1], EACH(0, 4));
    to[1] = __builtin_shufflevector(a[0], a[1], EACH(1, 5));
#endif
#undef EACH
}

/* x as floats or doubles; columns and x are not read past the n-th, 0 <= n <= VL */
XE_INLINE V XE(gather_add)(V sum, const void *x, const int is_float, const int32_t *columns, ptrdiff_t n, const REAL *w)
{
    REAL x_v[VL] = {0}, w_v[VL] = {0};
    if (n == VL && is_float == XE_IS_FLOAT) {
#if XE_IS_FLOAT
        const __m256i at = _mm256_loadu_si256((const __m256i *)(const void *)columns);
        return sum + XE(load)((const REAL *)x) * (V)_mm256_i32gather_ps(w, at, sizeof(REAL));
#else
        const __m128i at = _mm_loadu_si128((const __m128i *)(const void *)columns);
        return sum + XE(load)((const REAL *)x) * (V)_mm256_i32gather_pd(w, at, sizeof(REAL));
#endif
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        x_v[i] = is_float ? (REAL)((const float *)x)[i] : (REAL)((const double *)x)[i];
        w_v[i] = w[columns[i]];
    }
    return sum + XE(load)(x_v) * XE(load)(w_v);
}

XE_INLINE V XE(fmsub)(V a, V b, V c)
{
    return (V)OP(fmsub)((VECTOR)a, (VECTOR)b, (VECTOR)c);
}

/* ---- to and from double ---- */

#if XE_IS_FLOAT
XE_INLINE VD XE(widen)(const REAL *p)
{
    return (VD)_mm256_cvtps_pd(_mm_loadu_ps(p));
}

XE_INLINE void XE(narrow)(REAL *p, VD a)
{
    _mm_storeu_ps(p, _mm256_cvtpd_ps((__m256d)a));
}

XE_INLINE VD XE(low_half)(V a)
{
    return (VD)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)a));
}

XE_INLINE VD XE(high_half)(V a)
{
    return (VD)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)a, 1));
}
#endif

/* ---- short vectors ---- */

XE_INLINE H XE(narrow_short)(const double *p, ptrdiff_t n)
{
#if XE_IS_FLOAT
    const VD low = n < 4 ? XE_DOUBLE(load_n)(p, n) : XE_DOUBLE(load)(p);
    const VD high = n < HL ? XE_DOUBLE(load_n)(p + 4, n - 4) : XE_DOUBLE(load)(p + 4);
    return (H)_mm256_set_m128(_mm256_cvtpd_ps((__m256d)high), _mm256_cvtpd_ps((__m256d)low));
#else
    return n < HL ? XE(load_n)(p, n) : XE(load)(p);
#endif
}

/* It uses no mask: a masked store would take some twenty cycles on AMD's processors. */
XE_INLINE void XE(add_part)(double *to, H a, ptrdiff_t n)
{
#if XE_IS_FLOAT
    __m256d wide = _mm256_cvtps_pd(_mm256_castps256_ps128((__m256)a));
    if (n >= 4) {
        _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), wide));
        wide = _mm256_cvtps_pd(_mm256_extractf128_ps((__m256)a, 1));
        to += 4;
    }
#else
    const __m256d wide = (__m256d)a;
#endif
    __m128d pair = _mm256_castpd256_pd128(wide);
    if (n & 2) {
        _mm_storeu_pd(to, _mm_add_pd(_mm_loadu_pd(to), pair));
        pair = _mm256_extractf128_pd(wide, 1);
        to += 2;
    }
    if (n & 1) *to += _mm_cvtsd_f64(pair);
}

#include "short_rows.h"

#endif
