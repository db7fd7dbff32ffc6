/* Vectors of 16 bytes in the compiler's extensions of C: SSE2, and NEON with its 32 registers. A template: see
 * isa.h, and simd.h for what the operations are. */
#ifndef REAL
#include "vectors.h"
#else

#define XE_BYTES 16
#define XE_SHORT_BYTES 16
#if defined(__aarch64__)
#define XE_REGISTERS 32
#define XE_TILE 28 /* registers that the accumulators of a tile and the vectors that it loads may fill */
#else
#define XE_REGISTERS 16
#define XE_TILE 12
#endif
#define XE_MASKED_LOADS 0
#define XE_MASK_REGISTERS 0
#define XE_TRANSPOSES 0
#define XE_GATHERS 0
#define XE_FAST_GATHERS 0
#define XE_SCALEF 0
#define XE_FMSUB 0
#define XE_KEEP(a) ((void)0)

#include "vector_extensions.h"

XE_INLINE V XE(load_n_or)(const REAL *p, ptrdiff_t n, REAL rest)
{
    REAL lanes[VL];
    for (ptrdiff_t i = 0; i < VL; i++) lanes[i] = i < n ? p[i] : rest;
    return XE(load)(lanes);
}

XE_INLINE V XE(load_n)(const REAL *p, ptrdiff_t n)
{
    return XE(load_n_or)(p, n, 0);
}

XE_INLINE void XE(store_n)(REAL *p, V a, ptrdiff_t n)
{
    REAL lanes[VL];
    XE(store)(lanes, a);
    for (ptrdiff_t i = 0; i < VL && i < n; i++) p[i] = lanes[i];
}

XE_INLINE V XE(select)(M m, V a, V b)
{
    return XE(from_bits)((m & XE(to_bits)(a)) | (~m & XE(to_bits)(b)));
}

XE_INLINE int XE(any)(M m)
{
    XE(word) words[VL], any = 0;
    memcpy(words, &m, sizeof m);
    for (int i = 0; i < VL; i++) any |= words[i];
    return any != 0;
}

XE_INLINE V XE(max)(V a, V b)
{
    return XE(select)(XE(less)(b, a), a, b);
}

XE_INLINE V XE(min)(V a, V b)
{
    return XE(select)(XE(less)(a, b), a, b);
}

/* ---- across lanes: each is joined with the one half a vector further on ---- */

#define STEP(join, a, ...) a = join(a, __builtin_shufflevector(a, a, __VA_ARGS__))
#if XE_IS_FLOAT
#define REDUCE(join, a)        \
    STEP(join, a, 2, 3, 0, 1); \
    STEP(join, a, 1, 0, 3, 2)
#else
#define REDUCE(join, a) STEP(join, a, 1, 0)
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
#define ROWS ((int)VL)
XE_INLINE void XE(reduce_rows)(const V *a, const REAL *start, REAL *to)
{
#define PAIR(a, b) (__builtin_shufflevector(a, b, EVEN) + __builtin_shufflevector(a, b, ODD))
#if XE_IS_FLOAT
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
    const V sums = PAIR(PAIR(a[0], a[1]), PAIR(a[2], a[3]));
#else
#define EVEN 0, 2
#define ODD 1, 3
    const V sums = PAIR(a[0], a[1]);
#endif
    XE(store)(to, sums + (start ? XE(set1)(*start) : XE(load)(to)));
#undef PAIR
#undef EVEN
#undef ODD
}

/* ---- to and from double ---- */

#if XE_IS_FLOAT
XE_INLINE VD XE(widen)(const REAL *p)
{
    return (VD){p[0], p[1]};
}

XE_INLINE void XE(narrow)(REAL *p, VD a)
{
    p[0] = (float)a[0], p[1] = (float)a[1];
}

XE_INLINE VD XE(low_half)(V a)
{
    return (VD){a[0], a[1]};
}

XE_INLINE VD XE(high_half)(V a)
{
    return (VD){a[2], a[3]};
}
#endif

/* ---- short vectors ---- */

XE_INLINE H XE(narrow_short)(const double *p, ptrdiff_t n)
{
    REAL lanes[HL];
    for (ptrdiff_t i = 0; i < HL; i++) lanes[i] = i < n ? (REAL)p[i] : 0;
    return XE(load_short)(lanes);
}

XE_INLINE void XE(add_part)(double *to, H a, ptrdiff_t n)
{
    REAL lanes[HL];
    XE(store_short)(lanes, a);
    for (ptrdiff_t i = 0; i < n; i++) to[i] += (double)lanes[i];
}

#include "short_rows.h"

#endif
