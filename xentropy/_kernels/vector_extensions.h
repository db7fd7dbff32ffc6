/* The vectors of GCC and Clang, XE_BYTES wide: what their extensions of C say for every instruction set. A template:
 * see isa.h. */
#ifndef REAL
#include "vectors.h"
#else

#if XE_IS_FLOAT
typedef uint32_t XE(word);
#else
typedef uint64_t XE(word);
#endif
typedef REAL XE(vec) __attribute__((vector_size(XE_BYTES)));
typedef REAL XE(unaligned) __attribute__((vector_size(XE_BYTES), aligned(sizeof(REAL)), may_alias));
typedef XE(word) XE(bits) __attribute__((vector_size(XE_BYTES)));
typedef REAL XE(short_vec) __attribute__((vector_size(XE_SHORT_BYTES)));
typedef REAL XE(short_unaligned) __attribute__((vector_size(XE_SHORT_BYTES), aligned(sizeof(REAL)), may_alias));

XE_INLINE V XE(set1)(REAL a)
{
    return a - (V){0}; /* a - 0 is a for every a, -0 included: compiles to one broadcast */
}

XE_INLINE V XE(load)(const REAL *p)
{
    return (V) * (const XE(unaligned) *)p;
}

XE_INLINE void XE(store)(REAL *p, V a)
{
    *(XE(unaligned) *)p = (XE(unaligned))a;
}

XE_INLINE H XE(set1_short)(REAL a)
{
    return a - (H){0};
}

XE_INLINE H XE(load_short)(const REAL *p)
{
    return (H) * (const XE(short_unaligned) *)p;
}

XE_INLINE void XE(store_short)(REAL *p, H a)
{
    *(XE(short_unaligned) *)p = (XE(short_unaligned))a;
}

XE_INLINE BITS XE(to_bits)(V a)
{
    return (BITS)a;
}

XE_INLINE V XE(from_bits)(BITS b)
{
    return (V)b;
}

#if !XE_MASK_REGISTERS
/* all ones or all zeros in each lane */
typedef XE(bits) XE(mask);

XE_INLINE M XE(less)(V a, V b)
{
    return (M)(a < b);
}

XE_INLINE M XE(equal)(V a, V b)
{
    return (M)(a == b);
}

XE_INLINE V XE(andnot)(M m, V a)
{
    return XE(from_bits)(~m & XE(to_bits)(a));
}

XE_INLINE V XE(count)(V n, M m)
{
    return XE(from_bits)(XE(to_bits)(n) - m); /* an integer's arithmetic is done sooner */
}
#endif

#endif
