/* Short vectors as parts of rows, of 32 bytes on AVX2 and AVX-512 and of 16 bytes elsewhere. A template: see isa.h. */
#ifndef REAL
#include "vectors.h"
#else

#undef SQUARE
#define SQUARE ((ptrdiff_t)(16 / sizeof(REAL)))

XE_INLINE H XE(load_rows)(const REAL *row, ptrdiff_t row_stride)
{
#if XE_SHORT_BYTES == 32 && XE_IS_FLOAT
    return (H)_mm256_loadu2_m128(row + SQUARE * row_stride, row);
#elif XE_SHORT_BYTES == 32
    return (H)_mm256_loadu2_m128d(row + SQUARE * row_stride, row);
#else
    (void)row_stride;
    return XE(load_short)(row);
#endif
}

XE_INLINE void XE(store_row)(REAL *row, H a, const int second)
{
#if XE_SHORT_BYTES == 32 && XE_IS_FLOAT
    _mm_storeu_ps(row, second ? _mm256_extractf128_ps((__m256)a, 1) : _mm256_castps256_ps128((__m256)a));
#elif XE_SHORT_BYTES == 32
    _mm_storeu_pd(row, second ? _mm256_extractf128_pd((__m256d)a, 1) : _mm256_castpd256_pd128((__m256d)a));
#else
    (void)second;
    XE(store_short)(row, a);
#endif
}

/* In log2 steps, each of which interleaves the halves of a. */
XE_INLINE void XE(transpose_short)(H *a)
{
#if XE_SHORT_BYTES == 32 && XE_IS_FLOAT
#define LOW 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH 2, 10, 3, 11, 6, 14, 7, 15
#elif XE_SHORT_BYTES == 32
#define LOW 0, 4, 2, 6
#define HIGH 1, 5, 3, 7
#elif XE_IS_FLOAT
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#else
#define LOW 0, 2
#define HIGH 1, 3
#endif
    XE_UNROLL
    for (int step = 1; step < SQUARE; step *= 2) {
        H b[SQUARE];
        XE_UNROLL
        for (int i = 0; i < SQUARE / 2; i++) {
            b[2 * i] = __builtin_shufflevector(a[i], a[i + SQUARE / 2], LOW);
            b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + SQUARE / 2], HIGH);
        }
        XE_UNROLL
        for (int i = 0; i < SQUARE; i++) a[i] = b[i];
    }
#undef LOW
#undef HIGH
}

#endif
