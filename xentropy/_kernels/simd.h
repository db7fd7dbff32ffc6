/* Vectors of REAL, as wide as the instruction set that this is compiled for. A template: see isa.c.
 *
 * GCC and Clang get their vector extensions; any other compiler gets "vectors" of one lane, plain C. Only what the
 * extensions cannot say, or say badly, is written with intrinsics: masks, blends and maxima of AVX2 and AVX-512.
 */
#if XE_IS_FLOAT
typedef uint32_t XE(word);
#else
typedef uint64_t XE(word);
#endif
#if XE_BYTES
typedef REAL XE(vec) __attribute__((vector_size(XE_BYTES)));
typedef REAL XE(unaligned) __attribute__((vector_size(XE_BYTES), aligned(sizeof(REAL)), may_alias));
typedef XE(word) XE(bits) __attribute__((vector_size(XE_BYTES)));
#else
typedef REAL XE(vec);
typedef XE(word) XE(bits);
#endif

#if XE_BYTES == 64
#if XE_IS_FLOAT
typedef __mmask16 XE(mask);
#else
typedef __mmask8 XE(mask);
#endif
#else
typedef XE(bits) XE(mask); /* all ones or all zeros in each lane */
#endif

#define V XE(vec)
#define M XE(mask)
#define BITS XE(bits)
#if XE_BYTES
#define VL ((ptrdiff_t)(XE_BYTES / sizeof(REAL)))
#else
#define VL ((ptrdiff_t)1)
#endif

/* ---- loads and stores ---- */

XE_INLINE V XE(all)(REAL a)
{
#if XE_BYTES
    return a - (V){0}; /* a - 0 is a for every a, -0 included: compiles to one broadcast */
#else
    return a;
#endif
}

XE_INLINE V XE(load)(const REAL *p)
{
#if XE_BYTES
    return (V) * (const XE(unaligned) *)p;
#else
    return *p;
#endif
}

XE_INLINE void XE(store)(REAL *p, V a)
{
#if XE_BYTES
    *(XE(unaligned) *)p = (XE(unaligned))a;
#else
    *p = a;
#endif
}

/* The first n lanes, the others zero; n may lie outside of 0..VL. Nothing past the n-th value is read or written. */
#if XE_BYTES == 64
XE_INLINE M XE(first)(ptrdiff_t n)
{
    return (M)(n >= VL ? ~0u : n <= 0 ? 0u : (1u << n) - 1u);
}
#elif XE_BYTES == 32
XE_INLINE __m256i XE(first)(ptrdiff_t n)
{
    static const int8_t ones[64] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    n = n < 0 ? 0 : n > VL ? VL : n;
    return _mm256_loadu_si256((const __m256i *)(ones + 32 - n * (ptrdiff_t)sizeof(REAL)));
}
#endif

XE_INLINE V XE(load_some)(const REAL *p, ptrdiff_t n)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return (V)_mm512_maskz_loadu_ps(XE(first)(n), p);
#elif XE_BYTES == 64
    return (V)_mm512_maskz_loadu_pd(XE(first)(n), p);
#elif XE_BYTES == 32 && XE_IS_FLOAT
    return (V)_mm256_maskload_ps(p, XE(first)(n));
#elif XE_BYTES == 32
    return (V)_mm256_maskload_pd(p, XE(first)(n));
#else
    REAL lanes[VL];
    for (ptrdiff_t i = 0; i < VL; i++) lanes[i] = i < n ? p[i] : 0;
    return XE(load)(lanes);
#endif
}

/* the same, the other lanes `rest` */
XE_INLINE V XE(load_or)(const REAL *p, ptrdiff_t n, REAL rest)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return (V)_mm512_mask_loadu_ps((__m512)XE(all)(rest), XE(first)(n), p);
#elif XE_BYTES == 64
    return (V)_mm512_mask_loadu_pd((__m512d)XE(all)(rest), XE(first)(n), p);
#elif XE_BYTES == 32 && XE_IS_FLOAT
    return (V)_mm256_blendv_ps((__m256)XE(all)(rest), (__m256)XE(load_some)(p, n), (__m256)XE(first)(n));
#elif XE_BYTES == 32
    return (V)_mm256_blendv_pd((__m256d)XE(all)(rest), (__m256d)XE(load_some)(p, n), (__m256d)XE(first)(n));
#else
    REAL lanes[VL];
    for (ptrdiff_t i = 0; i < VL; i++) lanes[i] = i < n ? p[i] : rest;
    return XE(load)(lanes);
#endif
}

XE_INLINE void XE(store_some)(REAL *p, V a, ptrdiff_t n)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    _mm512_mask_storeu_ps(p, XE(first)(n), (__m512)a);
#elif XE_BYTES == 64
    _mm512_mask_storeu_pd(p, XE(first)(n), (__m512d)a);
#elif XE_BYTES == 32 && XE_IS_FLOAT
    _mm256_maskstore_ps(p, XE(first)(n), (__m256)a);
#elif XE_BYTES == 32
    _mm256_maskstore_pd(p, XE(first)(n), (__m256d)a);
#else
    REAL lanes[VL];
    XE(store)(lanes, a);
    for (ptrdiff_t i = 0; i < VL && i < n; i++) p[i] = lanes[i];
#endif
}

/* ---- comparisons ---- */

XE_INLINE M XE(less)(V a, V b)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
#elif XE_BYTES == 64
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ);
#elif XE_BYTES
    return (M)(a < b);
#else
    return (M)0 - (M)(a < b);
#endif
}

XE_INLINE M XE(equal)(V a, V b)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
#elif XE_BYTES == 64
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_EQ_OQ);
#elif XE_BYTES
    return (M)(a == b);
#else
    return (M)0 - (M)(a == b);
#endif
}

XE_INLINE BITS XE(to_bits)(V a)
{
#if XE_BYTES
    return (BITS)a;
#else
    BITS b;
    memcpy(&b, &a, sizeof b);
    return b;
#endif
}

XE_INLINE V XE(from_bits)(BITS b)
{
#if XE_BYTES
    return (V)b;
#else
    V a;
    memcpy(&a, &b, sizeof a);
    return a;
#endif
}

/* m ? a : b */
XE_INLINE V XE(where)(M m, V a, V b)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return (V)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a);
#elif XE_BYTES == 64
    return (V)_mm512_mask_blend_pd(m, (__m512d)b, (__m512d)a);
#elif XE_BYTES == 32 && XE_IS_FLOAT
    return (V)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m);
#elif XE_BYTES == 32
    return (V)_mm256_blendv_pd((__m256d)b, (__m256d)a, (__m256d)m);
#else
    return XE(from_bits)((m & XE(to_bits)(a)) | (~m & XE(to_bits)(b)));
#endif
}

/* a with its first n lanes zero, 0 <= n <= VL */
XE_INLINE V XE(without)(V a, ptrdiff_t n)
{
    XE(word) lanes[VL];
    for (ptrdiff_t i = 0; i < VL; i++) lanes[i] = i < n ? 0 : ~(XE(word))0;
    BITS kept;
    memcpy(&kept, lanes, sizeof kept);
    return XE(from_bits)(XE(to_bits)(a) & kept);
}

/* m ? 0 : a */
XE_INLINE V XE(unless)(M m, V a)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return (V)_mm512_maskz_mov_ps((__mmask16)~m, (__m512)a);
#elif XE_BYTES == 64
    return (V)_mm512_maskz_mov_pd((__mmask8)~m, (__m512d)a);
#else
    return XE(from_bits)(~m & XE(to_bits)(a));
#endif
}

/* Counts how often m was true, lane by lane: from START_COUNT on, whose last place is worth 1. */
#if XE_IS_FLOAT
#define START_COUNT 0x1p23f
#else
#define START_COUNT 0x1p52
#endif
XE_INLINE V XE(count)(V n, M m)
{
#if XE_BYTES == 64
    return n + XE(unless)((M)~m, XE(all)(1));
#else
    return XE(from_bits)(XE(to_bits)(n) - m); /* an integer's arithmetic is done sooner */
#endif
}

XE_INLINE int XE(any)(M m)
{
#if XE_BYTES == 64
    return m != 0;
#elif XE_BYTES == 32
    return !_mm256_testz_si256((__m256i)m, (__m256i)m);
#else
    XE(word) words[VL], any = 0;
    memcpy(words, &m, sizeof m);
    for (int i = 0; i < VL; i++) any |= words[i];
    return any != 0;
#endif
}

/* a > b ? a : b, so b where either is NaN */
XE_INLINE V XE(larger)(V a, V b)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return (V)_mm512_max_ps((__m512)a, (__m512)b);
#elif XE_BYTES == 64
    return (V)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif XE_BYTES == 32 && XE_IS_FLOAT
    return (V)_mm256_max_ps((__m256)a, (__m256)b);
#elif XE_BYTES == 32
    return (V)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    return XE(where)(XE(less)(b, a), a, b);
#endif
}

/* a < b ? a : b, so b where either is NaN */
XE_INLINE V XE(smaller)(V a, V b)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    return (V)_mm512_min_ps((__m512)a, (__m512)b);
#elif XE_BYTES == 64
    return (V)_mm512_min_pd((__m512d)a, (__m512d)b);
#elif XE_BYTES == 32 && XE_IS_FLOAT
    return (V)_mm256_min_ps((__m256)a, (__m256)b);
#elif XE_BYTES == 32
    return (V)_mm256_min_pd((__m256d)a, (__m256d)b);
#else
    return XE(where)(XE(less)(a, b), a, b);
#endif
}

/* ---- across lanes ---- */

/* Each lane joined with the one half, a quarter, ... of the vector further on: all lanes hold the result in the end. */
#define HALF(join, a, ...) a = join(a, __builtin_shufflevector(a, a, __VA_ARGS__))
#if XE_BYTES == 64 && XE_IS_FLOAT
#define ACROSS(join, a)                                                     \
    HALF(join, a, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);    \
    HALF(join, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);    \
    HALF(join, a, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);    \
    HALF(join, a, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#elif XE_BYTES == 64 || (XE_BYTES == 32 && XE_IS_FLOAT)
#define ACROSS(join, a)                        \
    HALF(join, a, 4, 5, 6, 7, 0, 1, 2, 3);     \
    HALF(join, a, 2, 3, 0, 1, 6, 7, 4, 5);     \
    HALF(join, a, 1, 0, 3, 2, 5, 4, 7, 6)
#elif XE_BYTES == 32 || (XE_BYTES == 16 && XE_IS_FLOAT)
#define ACROSS(join, a)            \
    HALF(join, a, 2, 3, 0, 1);     \
    HALF(join, a, 1, 0, 3, 2)
#elif XE_BYTES == 16
#define ACROSS(join, a) HALF(join, a, 1, 0)
#else
#define ACROSS(join, a) ((void)0)
#endif
#if XE_BYTES
#define LANE(a) (a)[0]
#else
#define LANE(a) (a)
#endif

XE_INLINE V XE(plus)(V a, V b)
{
    return a + b;
}

XE_INLINE REAL XE(sum)(V a)
{
    ACROSS(XE(plus), a);
    return LANE(a);
}

/* the largest lane; a NaN may win or lose */
XE_INLINE REAL XE(top)(V a)
{
    ACROSS(XE(larger), a);
    return LANE(a);
}

#undef HALF
#undef ACROSS
#undef LANE

/* ROWS: how many vectors `sums` takes at a time, so that their sums fill a register. */
#if XE_BYTES == 64
#define ROWS 8
#elif XE_BYTES == 32
#define ROWS 4
#elif XE_BYTES == 16 && !XE_IS_FLOAT
#define ROWS 2
#else
#define ROWS 4
#endif

/* to[i] = *start (or to[i], where that is NULL) + the sum of the lanes of a[i], i < ROWS. In log2 steps: each adds
 * neighbours of two vectors into one. */
XE_INLINE void XE(sums)(const V *a, const REAL *start, REAL *to)
{
#define PAIR(a, b) (__builtin_shufflevector(a, b, EVEN) + __builtin_shufflevector(a, b, ODD))
#if XE_BYTES == 64 && XE_IS_FLOAT
#define EVEN 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30
#define ODD 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31
    const V abcd = PAIR(PAIR(a[0], a[1]), PAIR(a[2], a[3])), efgh = PAIR(PAIR(a[4], a[5]), PAIR(a[6], a[7]));
    const V two = __builtin_shufflevector(abcd, efgh, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
                  __builtin_shufflevector(abcd, efgh, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    const __m256 one = (__m256)__builtin_shufflevector(two, two, 0, 1, 2, 3, 8, 9, 10, 11) +
                       (__m256)__builtin_shufflevector(two, two, 4, 5, 6, 7, 12, 13, 14, 15);
    _mm256_storeu_ps(to, one + (start ? _mm256_set1_ps(*start) : _mm256_loadu_ps(to)));
#elif XE_BYTES == 64
#define EVEN 0, 8, 2, 10, 4, 12, 6, 14
#define ODD 1, 9, 3, 11, 5, 13, 7, 15
#define QUARTERS(a, b)                                        \
    (__builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13) + \
     __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15))
    const V abcd = QUARTERS(PAIR(a[0], a[1]), PAIR(a[2], a[3])), efgh = QUARTERS(PAIR(a[4], a[5]), PAIR(a[6], a[7]));
    XE(store)(to, QUARTERS(abcd, efgh) + (start ? XE(all)(*start) : XE(load)(to)));
#undef QUARTERS
#elif XE_BYTES == 32 && XE_IS_FLOAT
#define EVEN 0, 2, 8, 10, 4, 6, 12, 14
#define ODD 1, 3, 9, 11, 5, 7, 13, 15
    const V abcd = PAIR(PAIR(a[0], a[1]), PAIR(a[2], a[3]));
    const __m128 one = (__m128)__builtin_shufflevector(abcd, abcd, 0, 1, 2, 3) +
                       (__m128)__builtin_shufflevector(abcd, abcd, 4, 5, 6, 7);
    _mm_storeu_ps(to, one + (start ? _mm_set1_ps(*start) : _mm_loadu_ps(to)));
#elif XE_BYTES == 32
#define EVEN 0, 4, 2, 6
#define ODD 1, 5, 3, 7
    const V ab = PAIR(a[0], a[1]), cd = PAIR(a[2], a[3]);
    const V sum = __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    XE(store)(to, sum + (start ? XE(all)(*start) : XE(load)(to)));
#elif XE_BYTES == 16 && XE_IS_FLOAT
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
    XE(store)(to, PAIR(PAIR(a[0], a[1]), PAIR(a[2], a[3])) + (start ? XE(all)(*start) : XE(load)(to)));
#elif XE_BYTES == 16
#define EVEN 0, 2
#define ODD 1, 3
    XE(store)(to, PAIR(a[0], a[1]) + (start ? XE(all)(*start) : XE(load)(to)));
#else
    for (int i = 0; i < ROWS; i++) to[i] = a[i] + (start ? *start : to[i]);
#endif
#undef PAIR
#undef EVEN
#undef ODD
}

/* ---- columns of rows ---- */

#if XE_BYTES > 16
#define LANE ((int)(16 / sizeof(REAL))) /* numbers in 128 bits, inside of which shuffles are cheap */
#define TURN ((int)VL / 2)              /* columns that `turn` takes at a time */

/* a[0..TURN - 1], b[0..TURN - 1]; where n < TURN, only n of each are read, and the others are zero */
XE_INLINE V XE(two_halves)(const REAL *a, const REAL *b, ptrdiff_t n)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    const __m256 a_n = n < TURN ? _mm256_maskz_loadu_ps((__mmask8)XE(first)(n), a) : _mm256_loadu_ps(a);
    const __m256 b_n = n < TURN ? _mm256_maskz_loadu_ps((__mmask8)XE(first)(n), b) : _mm256_loadu_ps(b);
    return (V)_mm512_insertf32x8(_mm512_castps256_ps512(a_n), b_n, 1);
#elif XE_BYTES == 64
    const __m256d a_n = n < TURN ? _mm256_maskz_loadu_pd(XE(first)(n), a) : _mm256_loadu_pd(a);
    const __m256d b_n = n < TURN ? _mm256_maskz_loadu_pd(XE(first)(n), b) : _mm256_loadu_pd(b);
    return (V)_mm512_insertf64x4(_mm512_castpd256_pd512(a_n), b_n, 1);
#else
    const __m128i mask = _mm256_castsi256_si128(XE(first)(n));
#if XE_IS_FLOAT
    const __m128 a_n = n < TURN ? _mm_maskload_ps(a, mask) : _mm_loadu_ps(a);
    const __m128 b_n = n < TURN ? _mm_maskload_ps(b, mask) : _mm_loadu_ps(b);
    return (V)_mm256_insertf128_ps(_mm256_castps128_ps256(a_n), b_n, 1);
#else
    const __m128d a_n = n < TURN ? _mm_maskload_pd(a, mask) : _mm_loadu_pd(a);
    const __m128d b_n = n < TURN ? _mm_maskload_pd(b, mask) : _mm_loadu_pd(b);
    return (V)_mm256_insertf128_pd(_mm256_castpd128_pd256(a_n), b_n, 1);
#endif
#endif
}

/* to[c] = column c of VL rows that start at x + row[i]: TURN columns, of which only n are read where n < TURN. Squares
 * of LANE by LANE are turned inside of each 128 bits; with 512 bits there are two columns' in a vector, to be parted. */
XE_INLINE void XE(turn)(const REAL *x, const ptrdiff_t *row, ptrdiff_t n, V *to)
{
#if XE_IS_FLOAT
#if XE_BYTES == 64
#define EACH(a, b, c, d) \
    a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12
#define EVEN 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define ODD 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#define B 16 /* the first number of the second vector */
#else
#define EACH(a, b, c, d) a, b, c, d, a + 4, b + 4, c + 4, d + 4
#define B 8
#endif
#elif XE_BYTES == 64
#define EACH(a, b) a, b, a + 2, b + 2, a + 4, b + 4, a + 6, b + 6
#define EVEN 0, 1, 4, 5, 8, 9, 12, 13
#define ODD 2, 3, 6, 7, 10, 11, 14, 15
#define B 8
#else
#define EACH(a, b) a, b, a + 2, b + 2
#define B 4
#endif
    enum { SQUARES = XE_BYTES / 32 };
    V turned[SQUARES][4];
    XE_UNROLL
    for (int s = 0; s < SQUARES; s++, row += 2 * LANE) {
        V a[4];
        XE_UNROLL
        for (int i = 0; i < LANE; i++) a[i] = XE(two_halves)(x + row[i], x + row[LANE + i], n);
#if XE_IS_FLOAT
        const V a01 = __builtin_shufflevector(a[0], a[1], EACH(0, B, 1, B + 1));
        const V a23 = __builtin_shufflevector(a[2], a[3], EACH(0, B, 1, B + 1));
        const V b01 = __builtin_shufflevector(a[0], a[1], EACH(2, B + 2, 3, B + 3));
        const V b23 = __builtin_shufflevector(a[2], a[3], EACH(2, B + 2, 3, B + 3));
        turned[s][0] = __builtin_shufflevector(a01, a23, EACH(0, 1, B, B + 1));
        turned[s][1] = __builtin_shufflevector(a01, a23, EACH(2, 3, B + 2, B + 3));
        turned[s][2] = __builtin_shufflevector(b01, b23, EACH(0, 1, B, B + 1));
        turned[s][3] = __builtin_shufflevector(b01, b23, EACH(2, 3, B + 2, B + 3));
#else
        turned[s][0] = __builtin_shufflevector(a[0], a[1], EACH(0, B));
        turned[s][1] = __builtin_shufflevector(a[0], a[1], EACH(1, B + 1));
#endif
    }
    XE_UNROLL
    for (int c = 0; c < LANE; c++) {
#if XE_BYTES == 64
        to[c] = __builtin_shufflevector(turned[0][c], turned[1][c], EVEN);
        to[c + LANE] = __builtin_shufflevector(turned[0][c], turned[1][c], ODD);
#else
        to[c] = turned[0][c];
#endif
    }
#undef EACH
#undef EVEN
#undef ODD
#undef B
}
#endif

/* ---- gathers: of columns that are 32-bit integers ---- */

#if XE_BYTES > 16
#define XE_GATHERS 1
/* sum + x_i w[columns[i]] in lane i < n, 0 <= n <= VL; x as floats or doubles. Nothing past the n-th is read. */
XE_INLINE V XE(gather_add)(V sum, const void *x, const int is_float, const int32_t *columns, ptrdiff_t n, const REAL *w)
{
#if XE_BYTES == 64 && XE_IS_FLOAT
    const __mmask16 m = XE(first)(n);
    const __m512i at = _mm512_maskz_loadu_epi32(m, columns);
    const __m512 w_v = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, at, w, sizeof(REAL));
    if (is_float) return sum + (V)_mm512_maskz_loadu_ps(m, x) * (V)w_v;
    const __m256 low = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)m, x));
    const __m256 high = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)(m >> 8), (const double *)x + 8));
    return sum + (V)_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1) * (V)w_v;
#elif XE_BYTES == 64
    const __mmask8 m = XE(first)(n);
    const __m256i at = _mm256_maskz_loadu_epi32(m, columns);
    const __m512d w_v = _mm512_mask_i32gather_pd(_mm512_setzero_pd(), m, at, w, sizeof(REAL));
    const __m512d x_v = is_float ? _mm512_cvtps_pd(_mm256_maskz_loadu_ps(m, x)) : _mm512_maskz_loadu_pd(m, x);
    return sum + (V)x_v * (V)w_v;
#else
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
#endif
}
#else
#define XE_GATHERS 0
#endif

/* ---- to and from double: lanes are VLD at a time ---- */

#define VD XE_DOUBLE(vec)
#define VLD (XE_BYTES ? (ptrdiff_t)(XE_BYTES / sizeof(double)) : 1)

/* the next VLD numbers */
XE_INLINE VD XE(widen)(const REAL *p)
{
#if !XE_IS_FLOAT
    return XE(load)(p);
#elif XE_BYTES == 64
    return (VD)_mm512_cvtps_pd(_mm256_loadu_ps(p));
#elif XE_BYTES == 32
    return (VD)_mm256_cvtps_pd(_mm_loadu_ps(p));
#elif XE_BYTES == 16
    return (VD){p[0], p[1]};
#else
    return *p;
#endif
}

XE_INLINE void XE(narrow)(REAL *p, VD a)
{
#if !XE_IS_FLOAT
    XE(store)(p, a);
#elif XE_BYTES == 64
    _mm256_storeu_ps(p, _mm512_cvtpd_ps((__m512d)a));
#elif XE_BYTES == 32
    _mm_storeu_ps(p, _mm256_cvtpd_ps((__m256d)a));
#elif XE_BYTES == 16
    p[0] = (float)a[0], p[1] = (float)a[1];
#else
    *p = (float)a;
#endif
}

/* to[i] = a lane as a double, or += it */
XE_INLINE void XE(wide_store)(double *to, V a, const int add)
{
#if !XE_IS_FLOAT
    XE(store)(to, add ? XE(load)(to) + a : a);
#else
#if XE_BYTES == 64
    const VD wide[2] = {(VD)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)a)),
                        (VD)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)a, 1))};
#elif XE_BYTES == 32
    const VD wide[2] = {(VD)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)a)),
                        (VD)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)a, 1))};
#elif XE_BYTES
    const VD wide[2] = {(VD){a[0], a[1]}, (VD){a[2], a[3]}};
#else
    const VD wide[1] = {a};
#endif
    for (ptrdiff_t i = 0; i < VL / VLD; i++)
        XE_DOUBLE(store)(to + i * VLD, add ? XE_DOUBLE(load)(to + i * VLD) + wide[i] : wide[i]);
#endif
}

/* the sums of VL / VLD lanes each, as doubles */
XE_INLINE VD XE(fold)(V a)
{
#if !XE_IS_FLOAT
    return a;
#elif XE_BYTES == 64
    return (VD)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)a)) +
           (VD)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)a, 1));
#elif XE_BYTES == 32
    return (VD)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)a)) +
           (VD)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)a, 1));
#elif XE_BYTES
    return (VD){a[0], a[1]} + (VD){a[2], a[3]};
#else
    return a;
#endif
}
