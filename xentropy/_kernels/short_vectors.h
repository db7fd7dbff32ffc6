/* Short vectors, 32 bytes at most. A template: REAL is float or double.
 *
 * Of rows of few numbers: they are padded to less than whole vectors, and a vector at any row's start lies in one cache
 * line.
 */

#if XE_BYTES == 64
typedef REAL XE(short_vec) __attribute__((vector_size(32)));
typedef REAL XE(short_unaligned) __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));
#elif XE_BYTES
typedef XE(vec) XE(short_vec);
typedef XE(unaligned) XE(short_unaligned);
#else
typedef REAL XE(short_vec);
typedef REAL XE(short_unaligned);
#endif
#define H XE(short_vec)
#define HL ((ptrdiff_t)(sizeof(H) / sizeof(REAL)))

XE_INLINE H XE(all_short)(REAL a)
{
#if XE_BYTES
    return a - (H){0};
#else
    return a;
#endif
}

XE_INLINE H XE(load_short)(const REAL *p)
{
    return (H) * (const XE(short_unaligned) *)p;
}

/* n numbers, at most HL and maybe none, and zeros */
XE_INLINE H XE(load_some_short)(const REAL *p, ptrdiff_t n)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return (H)_mm256_maskz_loadu_ps((__mmask8)XE_DOUBLE(first)(n), p);
#elif XE_BYTES == 64
    return (H)_mm256_maskz_loadu_pd((__mmask8)(XE(first)(n) & 15), p);
#elif XE_BYTES
    return XE(load_some)(p, n);
#else
    return n > 0 ? *p : 0;
#endif
}

/* a vector whose lanes have the sum of all lanes of a and b */
XE_INLINE V XE(joined)(H a, H b)
{
#if XE_BYTES == 64
    return (V)_mm512_insertf64x4(_mm512_castpd256_pd512((__m256d)a), (__m256d)b, 1);
#else
    return a + b;
#endif
}

XE_INLINE void XE(store_short)(REAL *p, H a)
{
    *(XE(short_unaligned) *)p = (XE(short_unaligned))a;
}

/* n doubles, at most HL, and zeros */
XE_INLINE H XE(narrow_short)(const double *p, ptrdiff_t n)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return (H)_mm512_cvtpd_ps((__m512d)XE_DOUBLE(load_some)(p, n));
#elif XE_BYTES == 64
    return (H)_mm256_maskz_loadu_pd(XE(first)(n), p);
#elif XE_BYTES == 32 && XE_IS_FLOAT
    const VD low = n < 4 ? XE_DOUBLE(load_some)(p, n) : XE_DOUBLE(load)(p);
    const VD high = n < HL ? XE_DOUBLE(load_some)(p + 4, n - 4) : XE_DOUBLE(load)(p + 4);
    return (H)_mm256_set_m128(_mm256_cvtpd_ps((__m256d)high), _mm256_cvtpd_ps((__m256d)low));
#elif XE_BYTES == 32
    return n < HL ? XE(load_some)(p, n) : XE(load)(p);
#else
    REAL lanes[HL];
    for (ptrdiff_t i = 0; i < HL; i++) lanes[i] = i < n ? (REAL)p[i] : 0;
    return XE(load_short)(lanes);
#endif
}

/* to[i] += a lane as a double */
XE_INLINE void XE(add_short)(double *to, H a)
{
#if !XE_IS_FLOAT
    XE(store_short)(to, XE(load_short)(to) + a);
#elif XE_BYTES == 64
    XE_DOUBLE(store)(to, XE_DOUBLE(load)(to) + (VD)_mm512_cvtps_pd((__m256)a));
#else
    XE(wide_store)(to, a, 1);
#endif
}

/* the same of the first n lanes, 0 < n <= HL */
XE_INLINE void XE(add_some_short)(double *to, H a, ptrdiff_t n)
{
    if (n == HL) {
        XE(add_short)(to, a);
        return;
    }
#if XE_BYTES == 64 && XE_IS_FLOAT
    XE_DOUBLE(store_some)(to, XE_DOUBLE(load_some)(to, n) + (VD)_mm512_cvtps_pd((__m256)a), n);
#elif XE_BYTES == 64
    const __mmask8 m = XE(first)(n);
    _mm256_mask_storeu_pd(to, m, _mm256_add_pd(_mm256_maskz_loadu_pd(m, to), (__m256d)a));
#elif XE_BYTES == 32 /* not under a mask: a store would take some twenty cycles on AMD's processors */
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
#else
    REAL lanes[HL];
    XE(store_short)(lanes, a);
    for (ptrdiff_t i = 0; i < n; i++) to[i] += (double)lanes[i];
#endif
}

/* Rows in short vectors: SQUARE numbers of a row, 16 bytes, and of the row SQUARE rows further on the same. */
#define SQUARE ((ptrdiff_t)(XE_BYTES ? 16 / sizeof(REAL) : 1))

XE_INLINE H XE(load_rows)(const REAL *row, ptrdiff_t row_stride)
{
#if XE_BYTES > 16 && XE_IS_FLOAT
    return (H)_mm256_loadu2_m128(row + SQUARE * row_stride, row);
#elif XE_BYTES > 16
    return (H)_mm256_loadu2_m128d(row + SQUARE * row_stride, row);
#else
    (void)row_stride;
    return XE(load_short)(row);
#endif
}

/* the first of these rows, or the second one */
XE_INLINE void XE(store_row)(REAL *row, H a, const int second)
{
#if XE_BYTES > 16 && XE_IS_FLOAT
    _mm_storeu_ps(row, second ? _mm256_extractf128_ps((__m256)a, 1) : _mm256_castps256_ps128((__m256)a));
#elif XE_BYTES > 16
    _mm_storeu_pd(row, second ? _mm256_extractf128_pd((__m256d)a, 1) : _mm256_castpd256_pd128((__m256d)a));
#else
    (void)second;
    XE(store_short)(row, a);
#endif
}

/* In each 16 bytes, lane j of a[i] and lane i of a[j] change places, i, j < SQUARE: such rows become columns, and columns
 * such rows. In log2 steps: each interleaves the halves of a. */
XE_INLINE void XE(transpose)(H *a)
{
#if XE_BYTES
#if XE_IS_FLOAT && XE_BYTES > 16
#define LOW 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH 2, 10, 3, 11, 6, 14, 7, 15
#elif XE_BYTES > 16
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
#else
    (void)a;
#endif
}
