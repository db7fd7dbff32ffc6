/* Vectors of one lane, in plain C: for compilers without vector extensions. A template: see isa.h. */
#ifndef REAL
#include "vectors.h"
#else

#define XE_BYTES 8       /* of a vector, for the loops that count cache lines: a double's */
#define XE_REGISTERS 16
#define XE_TILE 12       /* registers that accumulators and what they are made of may fill */
#define XE_MASKED_LOADS 0
#define XE_MASK_REGISTERS 0
#define XE_TRANSPOSES 0
#define XE_GATHERS 0
#define XE_FAST_GATHERS 0
#define XE_SCALEF 0
#define XE_FMSUB 0
#define XE_KEEP(a) ((void)0)

#if XE_IS_FLOAT
typedef uint32_t XE(word);
#else
typedef uint64_t XE(word);
#endif
typedef REAL XE(vec);
typedef REAL XE(short_vec);
typedef XE(word) XE(bits);
typedef XE(word) XE(mask); /* all ones or all zeros */

XE_INLINE V XE(set1)(REAL a)
{
    return a;
}

XE_INLINE V XE(load)(const REAL *p)
{
    return *p;
}

XE_INLINE void XE(store)(REAL *p, V a)
{
    *p = a;
}

XE_INLINE V XE(load_n_or)(const REAL *p, ptrdiff_t n, REAL rest)
{
    return n > 0 ? *p : rest;
}

XE_INLINE V XE(load_n)(const REAL *p, ptrdiff_t n)
{
    return XE(load_n_or)(p, n, 0);
}

XE_INLINE void XE(store_n)(REAL *p, V a, ptrdiff_t n)
{
    if (n > 0) *p = a;
}

XE_INLINE BITS XE(to_bits)(V a)
{
    BITS b;
    memcpy(&b, &a, sizeof b);
    return b;
}

XE_INLINE V XE(from_bits)(BITS b)
{
    V a;
    memcpy(&a, &b, sizeof a);
    return a;
}

XE_INLINE M XE(less)(V a, V b)
{
    return (M)0 - (M)(a < b);
}

XE_INLINE M XE(equal)(V a, V b)
{
    return (M)0 - (M)(a == b);
}

XE_INLINE V XE(select)(M m, V a, V b)
{
    return m ? a : b;
}

XE_INLINE V XE(andnot)(M m, V a)
{
    return m ? 0 : a;
}

XE_INLINE V XE(count)(V n, M m)
{
    return m ? n + 1 : n;
}

XE_INLINE int XE(any)(M m)
{
    return m != 0;
}

XE_INLINE V XE(max)(V a, V b)
{
    return a > b ? a : b;
}

XE_INLINE V XE(min)(V a, V b)
{
    return a < b ? a : b;
}

XE_INLINE REAL XE(reduce_add)(V a)
{
    return a;
}

XE_INLINE REAL XE(reduce_max)(V a)
{
    return a;
}

#undef ROWS
#define ROWS 4
XE_INLINE void XE(reduce_rows)(const V *a, const REAL *start, REAL *to)
{
    for (int i = 0; i < ROWS; i++) to[i] = a[i] + (start ? *start : to[i]);
}

#if XE_IS_FLOAT
XE_INLINE VD XE(widen)(const REAL *p)
{
    return *p;
}

XE_INLINE void XE(narrow)(REAL *p, VD a)
{
    *p = (REAL)a;
}

XE_INLINE VD XE(fold)(V a)
{
    return a;
}

XE_INLINE void XE(wide_store)(double *to, V a, const int add)
{
    *to = add ? *to + (double)a : (double)a;
}
#endif

/* ---- short vectors, which are vectors ---- */

XE_INLINE H XE(set1_short)(REAL a)
{
    return a;
}

XE_INLINE H XE(load_short)(const REAL *p)
{
    return *p;
}

XE_INLINE void XE(store_short)(REAL *p, H a)
{
    *p = a;
}

XE_INLINE H XE(narrow_short)(const double *p, ptrdiff_t n)
{
    return n > 0 ? (REAL)*p : 0;
}

XE_INLINE void XE(add_part)(double *to, H a, ptrdiff_t n)
{
    (void)n;
    *to += (double)a;
}

#undef SQUARE
#define SQUARE ((ptrdiff_t)1)

XE_INLINE H XE(load_rows)(const REAL *row, ptrdiff_t row_stride)
{
    (void)row_stride;
    return *row;
}

XE_INLINE void XE(store_row)(REAL *row, H a, const int second)
{
    (void)second;
    *row = a;
}

XE_INLINE void XE(transpose_short)(H *a)
{
    (void)a;
}

#endif
