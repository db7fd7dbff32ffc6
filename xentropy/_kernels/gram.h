/* Sums of w_i x_i x_i^T over rows of doubles, for Gram matrices and Hessians.
 *
 * GRAM_ROWS rows of sqrt(w) x at a time are packed, with PANEL vectors of features side by side. The columns of a
 * tile of the sum are such a panel, and its rows are BESIDE features. Tiles above the diagonal are left out, and the
 * result is mirrored. This is half of the arithmetic of a matrix product: for 1437 rows of 65 numbers OpenBLAS's
 * syrk and the scaling before it took twice as long, for 3000 rows of 768 a fifth longer.
 */
#ifndef XENTROPY_GRAM_H
#define XENTROPY_GRAM_H

#include "dense.h"

#define GRAM_ROWS ((ptrdiff_t)64) /* two panels of so many rows lie in L1 */
/* BESIDE features fit into the registers beside PANEL vectors, and divide a panel. */
#define FITTING (XE_TILE / PANEL - 1)
#define BESIDE (PANEL * VL % FITTING ? 2 * PANEL : FITTING)
#define MIRRORED ((ptrdiff_t)8) /* numbers of a cache line, and lines, that are transposed together */

_Static_assert(PANEL * VL % BESIDE == 0, "a tile of the sum lies in one panel");

static size_t XE(gram_scratch)(ptrdiff_t d)
{
    const size_t width = (size_t)(PANEL * VL), n_panels = ((size_t)d + width - 1) / width;
    return n_panels * (size_t)GRAM_ROWS * width * sizeof(REAL) + (size_t)(d * XE(padded)(d)) * sizeof(double);
}

/* Writes sqrt(w) x to a row of each panel. */
static void XE(pack_weighted)(const double *x, double w, ptrdiff_t d, REAL *to)
{
    enum { WIDTH = PANEL * VL };
    const double root = sqrt(w);
    for (; d >= WIDTH; d -= WIDTH, x += WIDTH, to += GRAM_ROWS * WIDTH)
        for (ptrdiff_t j = 0; j < WIDTH; j++) to[j] = (REAL)(root * x[j]);
    for (ptrdiff_t j = 0; d && j < WIDTH; j++) to[j] = j < d ? (REAL)(root * x[j]) : 0;
}

/* Adds to rows k..k + n_k of the sum, up to the diagonal. */
XE_INLINE void XE(gram_tiles)(const int n_k, const REAL *packed, ptrdiff_t k, ptrdiff_t n_rows, double *sum,
                              ptrdiff_t stride)
{
    enum { WIDTH = PANEL * VL };
    const ptrdiff_t panel = k / WIDTH;
    const REAL *b = packed + panel * GRAM_ROWS * WIDTH + k % WIDTH;
    for (ptrdiff_t q = 0; q <= panel; q++, packed += GRAM_ROWS * WIDTH) {
        const ptrdiff_t n_v = q < panel ? PANEL : (k % WIDTH + n_k - 1) / VL + 1;
        XE(panel_gradient)(n_k, n_v, packed, WIDTH, b, WIDTH, n_rows, sum + k * stride + q * WIDTH, stride);
    }
}

XE_HOT void XE(gram_block)(const REAL *packed, ptrdiff_t n_rows, ptrdiff_t d, double *sum)
{
    enum { HALF = BESIDE > 3 ? BESIDE / 2 : 1 };
    const ptrdiff_t stride = XE(padded)(d);
    ptrdiff_t k = 0;
    for (; k + BESIDE <= d; k += BESIDE) XE(gram_tiles)(BESIDE, packed, k, n_rows, sum, stride);
    for (; k + HALF <= d; k += HALF) XE(gram_tiles)(HALF, packed, k, n_rows, sum, stride);
    for (; k < d; k++) XE(gram_tiles)(1, packed, k, n_rows, sum, stride);
}

/* Adds the sum, which is below the diagonal, and its mirror image above to `to` (d, d). */
static void XE(add_mirrored)(const double *sum, ptrdiff_t d, double *to)
{
    const ptrdiff_t stride = XE(padded)(d);
    for (ptrdiff_t k = 0; k < d; k++)
        for (ptrdiff_t j = 0; j <= k; j++) to[k * d + j] += sum[k * stride + j];
    for (ptrdiff_t first = 0; first < d; first += MIRRORED)
        for (ptrdiff_t j = 0; j < d && j < first + MIRRORED; j++)
            for (ptrdiff_t k = j < first ? first : j + 1; k < d && k < first + MIRRORED; k++)
                to[j * d + k] += sum[k * stride + j];
}

static double XE(gram)(const double *x, ptrdiff_t n_rows, ptrdiff_t d, const double *weight, ptrdiff_t weight_step,
                       double floor, void *scratch, double *to)
{
    enum { WIDTH = PANEL * VL };
    REAL *packed = (REAL *)scratch;
    double *sum = (double *)(void *)(packed + (d + WIDTH - 1) / WIDTH * GRAM_ROWS * WIDTH), left = 0.0;
    ptrdiff_t n = 0;
    memset(sum, 0, (size_t)(d * XE(padded)(d)) * sizeof(double));
    for (ptrdiff_t i = 0; i < n_rows; i++, x += d, weight += weight_step) {
        if (*weight > floor) {
            XE(pack_weighted)(x, *weight, d, packed + n++ * WIDTH);
        } else {
            left += *weight;
        }
        if (n < GRAM_ROWS) continue;
        XE(gram_block)(packed, n, d, sum);
        n = 0;
    }
    if (n) XE(gram_block)(packed, n, d, sum);
    XE(add_mirrored)(sum, d, to);
    return left;
}

#endif
