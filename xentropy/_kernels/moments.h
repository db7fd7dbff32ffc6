/* First and second moments of the columns of dense X, which is REAL. */
#ifndef XENTROPY_MOMENTS_H
#define XENTROPY_MOMENTS_H

#include "vectors.h"

/* Adds the last n columns of a row, which fill no vector. */
XE_HOT void XE(moments_of_few)(const REAL *x, double s, const double *center, ptrdiff_t n, double *first,
                               double *second)
{
    for (ptrdiff_t j = 0; j < n; j++) {
        const double x_j = (double)x[j] - center[j];
        first[j] += s * x_j;
        second[j] += s * x_j * x_j;
    }
}

/* The rows are read in their order: so the memory is one stream, which the processor prefetches by itself, and the
 * sums stay in the cache. */
XE_HOT void XE(moments)(const REAL *x, const double *weight, const double *center, ptrdiff_t begin, ptrdiff_t end,
                        ptrdiff_t d, double *first, double *second)
{
    x += begin * d;
    for (ptrdiff_t i = begin; i < end; i++, x += d) {
        const double s = weight ? weight[i] : 1.0;
        const VD s_v = XE_DOUBLE(set1)(s);
        ptrdiff_t j = 0;
        if (s == 0.0) continue; /* the row may hold NaN */
        for (; j + VLD <= d; j += VLD) {
            const VD x_j = XE(widen)(x + j) - XE_DOUBLE(load)(center + j), weighted = s_v * x_j;
            XE_DOUBLE(store)(first + j, XE_DOUBLE(load)(first + j) + weighted);
            XE_DOUBLE(store)(second + j, XE_DOUBLE(load)(second + j) + weighted * x_j);
        }
        if (j < d) XE(moments_of_few)(x + j, s, center + j, d - j, first + j, second + j);
    }
}

#endif
