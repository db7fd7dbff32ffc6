/* Vectors of REAL, as wide as those of the instruction set that this is compiled for. A template: see isa.h.
 *
 * Each simd_<isa>.h says what an instruction set offers, and defines the operations that are listed here. Those
 * whose name has a `short` take short vectors: 32 bytes at most, for rows of few numbers, which are padded to less
 * than whole vectors, and where a vector at any row's start lies in one cache line.
 *
 *     set1(a)                     a in every lane
 *     load(p)  store(p, a)        VL numbers
 *     load_n(p, n)                the first n lanes, the others 0; load_n_or(p, n, rest): the others `rest`;
 *     store_n(p, a, n)            nothing past the n-th number is read or written, and n may lie outside of 0..VL
 *     less(a, b)  equal(a, b)     masks, false where a or b is NaN
 *     select(m, a, b)             m ? a : b
 *     andnot(m, a)                m ? 0 : a
 *     count(n, m)                 m ? n + 1 : n, where n counts from START_COUNT on
 *     any(m)                      whether a lane of m is true
 *     max(a, b)                   a > b ? a : b, so b where either is NaN; min(a, b): a < b ? a : b, likewise
 *     reduce_add(a)               the sum of the lanes
 *     reduce_max(a)               the largest lane; a NaN may win or lose
 *     reduce_rows(a, start, to)   to[i] = *start (or to[i], if start is NULL) + the sum of the lanes of a[i], i < ROWS
 *     to_bits(a)  from_bits(b)    the same bits as integers
 *     widen(p)                    VLD numbers as doubles
 *     narrow(p, a)                a vector of doubles as VLD numbers
 *     low_half(a)  high_half(a)   half of the lanes of a vector of floats, as doubles
 *     wide_store(to, a, add)      to[i] = lane i as a double, or += it
 *     fold(a)                     the sums of VL / VLD lanes each, as doubles
 *     join(a, b)                  a vector whose lanes have the sum of all lanes of the short a and b
 *     narrow_short(p, n)          n doubles, at most HL, the others 0
 *     add_short(to, a)            to[i] += lane i as a double
 *     add_n_short(to, a, n)       the same of n lanes, 0 < n <= HL; add_part(to, a, n): of less than HL
 *
 * Rows in short vectors hold SQUARE numbers of a row, 16 bytes, and as many of the row SQUARE rows further on:
 *
 *     load_rows(row, stride)      such a vector; store_row(row, a, second): its first row, or its second
 *     transpose_short(a)          in each 16 bytes, exchanges lane j of a[i] and lane i of a[j], i, j < SQUARE
 *
 * Where the instruction set offers them:
 *
 *     transpose(x, row, n, to)    XE_TRANSPOSES: to[c] = column c, c < TRANSPOSED, of VL rows that start at x + row[i];
 *                                 only n columns are read if n < TRANSPOSED
 *     gather_add(sum, x, ...)     XE_GATHERS: sum + x_i w[columns[i]] in lane i < n
 *     scalef_unless(m, a, n)      XE_SCALEF: m ? 0 : a 2^n
 *     fmsub(a, b, c)              XE_FMSUB: a b - c, rounded once
 */
#ifndef REAL
#include "vectors.h"
#else

#undef V
#undef M
#undef BITS
#undef VL
#undef H
#undef HL
#undef START_COUNT
#define V XE(vec)
#define M XE(mask)
#define BITS XE(bits)
#define VL ((ptrdiff_t)(sizeof(V) / sizeof(REAL)))
#define H XE(short_vec)
#define HL ((ptrdiff_t)(sizeof(H) / sizeof(REAL)))
#define VD XE_DOUBLE(vec)
#define VLD ((ptrdiff_t)(sizeof(VD) / sizeof(double)))
#define START_COUNT (XE_IS_FLOAT ? (REAL)0x1p23 : (REAL)0x1p52) /* the last place is worth 1 */

#include XE_SIMD

#if !XE_IS_FLOAT
XE_INLINE VD XE(widen)(const REAL *p)
{
    return XE(load)(p);
}

XE_INLINE void XE(narrow)(REAL *p, VD a)
{
    XE(store)(p, a);
}

XE_INLINE VD XE(fold)(V a)
{
    return a;
}

XE_INLINE void XE(wide_store)(double *to, V a, const int add)
{
    XE(store)(to, add ? XE(load)(to) + a : a);
}
#elif XE_SHORT_BYTES
XE_INLINE VD XE(fold)(V a)
{
    return XE(low_half)(a) + XE(high_half)(a);
}

XE_INLINE void XE(wide_store)(double *to, V a, const int add)
{
    const VD wide[2] = {XE(low_half)(a), XE(high_half)(a)};
    for (ptrdiff_t i = 0; i < VL / VLD; i++)
        XE_DOUBLE(store)(to + i * VLD, add ? XE_DOUBLE(load)(to + i * VLD) + wide[i] : wide[i]);
}
#endif

#if XE_BYTES < 64 /* short vectors are vectors */
XE_INLINE H XE(load_n_short)(const REAL *p, ptrdiff_t n)
{
    return XE(load_n)(p, n);
}

XE_INLINE V XE(join)(H a, H b)
{
    return a + b;
}

XE_INLINE void XE(add_short)(double *to, H a)
{
    XE(wide_store)(to, a, 1);
}
#endif

XE_INLINE void XE(add_n_short)(double *to, H a, ptrdiff_t n)
{
    if (n == HL)
        XE(add_short)(to, a);
    else
        XE(add_part)(to, a, n);
}

/* a with its first n lanes zero, 0 <= n <= VL */
XE_INLINE V XE(zero_n)(V a, ptrdiff_t n)
{
    XE(word) lanes[VL];
    for (ptrdiff_t i = 0; i < VL; i++) lanes[i] = i < n ? 0 : ~(XE(word))0;
    BITS kept;
    memcpy(&kept, lanes, sizeof kept);
    return XE(from_bits)(XE(to_bits)(a) & kept);
}

#endif
