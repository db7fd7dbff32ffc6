/* AVX-512 F, DQ, VL and BW. A template: see isa.h, and simd.h for what the operations are. */
#ifndef REAL
#include "vectors.h"
#else

#include <immintrin.h>

#define XE_BYTES 64
#define XE_SHORT_BYTES 32
#define XE_REGISTERS 32
#define XE_TILE 28          /* registers that the accumulators of a tile and the vectors that it loads may fill */
#define XE_MASKED_LOADS 1   /* a part of a vector is loaded without a detour */
#define XE_MASK_REGISTERS 1 /* masks take no registers of vectors */
#define XE_TRANSPOSES 1
#define XE_GATHERS 1
#define XE_FAST_GATHERS 1   /* with one output, a CSR row gathers its coefficients as fast as a tile loads them */
#define XE_SCALEF 1
#define XE_FMSUB 1
/* A vector that several products use is loaded once: gcc 12 would load it for each. */
#define XE_KEEP(a) __asm__("" : "+v"(a))

#undef OP
#undef OP_SHORT
#undef VECTOR
#undef SHORT_VECTOR
#if XE_IS_FLOAT
#define OP(name) _mm512_##name##_ps
#define OP_SHORT(name) _mm256_##name##_ps
#define VECTOR __m512
#define SHORT_VECTOR __m256
typedef __mmask16 XE(mask);
#else
#define OP(name) _mm512_##name##_pd
#define OP_SHORT(name) _mm256_##name##_pd
#define VECTOR __m512d
#define SHORT_VECTOR __m256d
typedef __mmask8 XE(mask);
#endif
#include "vector_extensions.h"

XE_INLINE M XE(first_n)(ptrdiff_t n)
{
    return (M)(n >= VL ? ~0u : n <= 0 ? 0u : (1u << n) - 1u);
}

XE_INLINE V XE(load_n)(const REAL *p, ptrdiff_t n)
{
    return (V)OP(maskz_loadu)(XE(first_n)(n), p);
}

XE_INLINE V XE(load_n_or)(const REAL *p, ptrdiff_t n, REAL rest)
{
    return (V)OP(mask_loadu)((VECTOR)XE(set1)(rest), XE(first_n)(n), p);
}

XE_INLINE void XE(store_n)(REAL *p, V a, ptrdiff_t n)
{
    OP(mask_storeu)(p, XE(first_n)(n), (VECTOR)a);
}

XE_INLINE M XE(less)(V a, V b)
{
#if XE_IS_FLOAT
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
#else
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ);
#endif
}

XE_INLINE M XE(equal)(V a, V b)
{
#if XE_IS_FLOAT
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
#else
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_EQ_OQ);
#endif
}

XE_INLINE V XE(select)(M m, V a, V b)
{
    return (V)OP(mask_blend)(m, (VECTOR)b, (VECTOR)a);
}

XE_INLINE V XE(andnot)(M m, V a)
{
    return (V)OP(maskz_mov)((M)~m, (VECTOR)a);
}

XE_INLINE V XE(count)(V n, M m)
{
    return n + XE(andnot)((M)~m, XE(set1)(1));
}

XE_INLINE int XE(any)(M m)
{
    return m != 0;
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
#define REDUCE(join, a)                                                  \
    STEP(join, a, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7); \
    STEP(join, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11); \
    STEP(join, a, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13); \
    STEP(join, a, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#else
#define REDUCE(join, a)                    \
    STEP(join, a, 4, 5, 6, 7, 0, 1, 2, 3); \
    STEP(join, a, 2, 3, 0, 1, 6, 7, 4, 5); \
    STEP(join, a, 1, 0, 3, 2, 5, 4, 7, 6)
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
#define ROWS 8
XE_INLINE void XE(reduce_rows)(const V *a, const REAL *start, REAL *to)
{
#define PAIR(a, b) (__builtin_shufflevector(a, b, EVEN) + __builtin_shufflevector(a, b, ODD))
#if XE_IS_FLOAT
#define EVEN 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30
#define ODD 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31
    const V abcd = PAIR(PAIR(a[0], a[1]), PAIR(a[2], a[3])), efgh = PAIR(PAIR(a[4], a[5]), PAIR(a[6], a[7]));
    const V two = __builtin_shufflevector(abcd, efgh, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
                  __builtin_shufflevector(abcd, efgh, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    const __m256 one = (__m256)__builtin_shufflevector(two, two, 0, 1, 2, 3, 8, 9, 10, 11) +
                       (__m256)__builtin_shufflevector(two, two, 4, 5, 6, 7, 12, 13, 14, 15);
    _mm256_storeu_ps(to, one + (start ? _mm256_set1_ps(*start) : _mm256_loadu_ps(to)));
#else
#define EVEN 0, 8, 2, 10, 4, 12, 6, 14
#define ODD 1, 9, 3, 11, 5, 13, 7, 15
#define QUARTERS(a, b)                                         \
    (__builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13) + \
     __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15))
    const V abcd = QUARTERS(PAIR(a[0], a[1]), PAIR(a[2], a[3])), efgh = QUARTERS(PAIR(a[4], a[5]), PAIR(a[6], a[7]));
    XE(store)(to, QUARTERS(abcd, efgh) + (start ? XE(set1)(*start) : XE(load)(to)));
#undef QUARTERS
#endif
#undef PAIR
#undef EVEN
#undef ODD
}

/* ---- columns of rows ---- */

#undef LANE
#undef TRANSPOSED
#define LANE ((int)(16 / sizeof(REAL))) /* numbers in 128 bits, within which shuffles are cheap */
#define TRANSPOSED ((int)VL / 2)

/* a[0..TRANSPOSED - 1], b[0..TRANSPOSED - 1]; if n < TRANSPOSED, only n of each are read, and the others are zero */
XE_INLINE V XE(load_halves)(const REAL *a, const REAL *b, ptrdiff_t n)
{
    const __mmask8 m = (__mmask8)XE(first_n)(n);
    const SHORT_VECTOR a_n = n < TRANSPOSED ? OP_SHORT(maskz_loadu)(m, a) : OP_SHORT(loadu)(a);
    const SHORT_VECTOR b_n = n < TRANSPOSED ? OP_SHORT(maskz_loadu)(m, b) : OP_SHORT(loadu)(b);
#if XE_IS_FLOAT
    return (V)_mm512_insertf32x8(_mm512_castps256_ps512(a_n), b_n, 1);
#else
    return (V)_mm512_insertf64x4(_mm512_castpd256_pd512(a_n), b_n, 1);
#endif
}

/* Squares of LANE by LANE are transposed in each 128 bits; then a vector has parts of two columns, to be exchanged. */
XE_INLINE void XE(transpose)(const REAL *x, const ptrdiff_t *row, ptrdiff_t n, V *to)
{
#if XE_IS_FLOAT
#define EACH(a, b, c, d) \
    a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12
#define EVEN 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define ODD 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#else
#define EACH(a, b) a, b, a + 2, b + 2, a + 4, b + 4, a + 6, b + 6
#define EVEN 0, 1, 4, 5, 8, 9, 12, 13
#define ODD 2, 3, 6, 7, 10, 11, 14, 15
#endif
    V square[2][4];
    XE_UNROLL
    for (int s = 0; s < 2; s++, row += 2 * LANE) {
        V a[4];
        XE_UNROLL
        for (int i = 0; i < LANE; i++) a[i] = XE(load_halves)(x + row[i], x + row[LANE + i], n);
#if XE_IS_FLOAT
        const V a01 = __builtin_shufflevector(a[0], a[1], EACH(0, 16, 1, 17));
        const V a23 = __builtin_shufflevector(a[2], a[3], EACH(0, 16, 1, 17));
        const V b01 = __builtin_shufflevector(a[0], a[1], EACH(2, 18, 3, 19));
        const V b23 = __builtin_shufflevector(a[2], a[3], EACH(2, 18, 3, 19));
        square[s][0] = __builtin_shufflevector(a01, a23, EACH(0, 1, 16, 17));
        square[s][1] = __builtin_shufflevector(a01, a23, EACH(2, 3, 18, 19));
        square[s][2] = __builtin_shufflevector(b01, b23, EACH(0, 1, 16, 17));
        square[s][3] = __builtin_shufflevector(b01, b23, EACH(2, 3, 18, 19));
#else
        square[s][0] = __builtin_shufflevector(a[0], a[1], EACH(0, 8));
        square[s][1] = __builtin_shufflevector(a[0], a[1], EACH(1, 9));
#endif
    }
    XE_UNROLL
    for (int c = 0; c < LANE; c++) {
        to[c] = __builtin_shufflevector(square[0][c], square[1][c], EVEN);
        to[c + LANE] = __builtin_shufflevector(square[0][c], square[1][c], ODD);
    }
#undef EACH
#undef EVEN
#undef ODD
}

/* x as floats or doubles; columns and x are not read past the n-th, 0 <= n <= VL */
XE_INLINE V XE(gather_add)(V sum, const void *x, const int is_float, const int32_t *columns, ptrdiff_t n, const REAL *w)
{
    const M m = XE(first_n)(n);
#if XE_IS_FLOAT
    const __m512i at = _mm512_maskz_loadu_epi32(m, columns);
    const __m512 w_v = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, at, w, sizeof(REAL));
    if (is_float) return sum + (V)_mm512_maskz_loadu_ps(m, x) * (V)w_v;
    const __m256 low = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)m, x));
    const __m256 high = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)(m >> 8), (const double *)x + 8));
    return sum + (V)_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1) * (V)w_v;
#else
    const __m256i at = _mm256_maskz_loadu_epi32(m, columns);
    const __m512d w_v = _mm512_mask_i32gather_pd(_mm512_setzero_pd(), m, at, w, sizeof(REAL));
    const __m512d x_v = is_float ? _mm512_cvtps_pd(_mm256_maskz_loadu_ps(m, x)) : _mm512_maskz_loadu_pd(m, x);
    return sum + (V)x_v * (V)w_v;
#endif
}

/* ---- arithmetic ---- */

XE_INLINE V XE(scalef_unless)(M m, V a, V n)
{
    return (V)OP(maskz_scalef)((M)~m, (VECTOR)a, (VECTOR)n);
}

XE_INLINE V XE(fmsub)(V a, V b, V c)
{
    return (V)OP(fmsub)((VECTOR)a, (VECTOR)b, (VECTOR)c);
}

/* ---- to and from double ---- */

#if XE_IS_FLOAT
XE_INLINE VD XE(widen)(const REAL *p)
{
    return (VD)_mm512_cvtps_pd(_mm256_loadu_ps(p));
}

XE_INLINE void XE(narrow)(REAL *p, VD a)
{
    _mm256_storeu_ps(p, _mm512_cvtpd_ps((__m512d)a));
}

XE_INLINE VD XE(low_half)(V a)
{
    return (VD)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)a));
}

XE_INLINE VD XE(high_half)(V a)
{
    return (VD)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)a, 1));
}
#endif

/* ---- short vectors ---- */

XE_INLINE H XE(load_n_short)(const REAL *p, ptrdiff_t n)
{
    return (H)OP_SHORT(maskz_loadu)((__mmask8)(XE(first_n)(n) & ((1 << HL) - 1)), p);
}

XE_INLINE V XE(join)(H a, H b)
{
    return (V)_mm512_insertf64x4(_mm512_castpd256_pd512((__m256d)a), (__m256d)b, 1);
}

XE_INLINE H XE(narrow_short)(const double *p, ptrdiff_t n)
{
#if XE_IS_FLOAT
    return (H)_mm512_cvtpd_ps((__m512d)XE_DOUBLE(load_n)(p, n));
#else
    return (H)_mm256_maskz_loadu_pd(XE(first_n)(n), p);
#endif
}

XE_INLINE void XE(add_short)(double *to, H a)
{
#if XE_IS_FLOAT
    XE_DOUBLE(store)(to, XE_DOUBLE(load)(to) + (VD)_mm512_cvtps_pd((__m256)a));
#else
    XE(store_short)(to, XE(load_short)(to) + a);
#endif
}

XE_INLINE void XE(add_part)(double *to, H a, ptrdiff_t n)
{
#if XE_IS_FLOAT
    XE_DOUBLE(store_n)(to, XE_DOUBLE(load_n)(to, n) + (VD)_mm512_cvtps_pd((__m256)a), n);
#else
    const __mmask8 m = XE(first_n)(n);
    _mm256_mask_storeu_pd(to, m, _mm256_add_pd(_mm256_maskz_loadu_pd(m, to), (__m256d)a));
#endif
}

#include "short_rows.h"

#endif
