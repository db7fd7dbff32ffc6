/* The fused pass over dense X. While a block of rows is in the cache, its logits are computed, then their losses,
 * then its part of the gradient:
 *
 *     Z = X W^T + b,   G = dL/dZ,   grad_W = G^T X,   grad_b = sum_i g_i
 *
 * dense_one.h, dense_few.h and dense_many.h do this for one, few and many outputs. This header has what they share:
 * the order of the coefficients, blocks of rows, and the tile of the gradient.
 */
#ifndef XENTROPY_DENSE_H
#define XENTROPY_DENSE_H

#include "cross_entropy.h"
#include "multilabel.h"

/* Up to DOTTED outputs, summing across lanes is faster than transposing X. */
#if XE_TRANSPOSES
#define DOTTED 3
#else
#define DOTTED FEW_CLASSES
#endif
#define PANEL 3 /* vectors of classes, or of features, in a tile of many outputs */
/* X is transposed in registers for each strip if a strip mostly has all outputs; otherwise once, into memory. */
#define IN_REGISTERS (XE_REGISTERS >= 32)
/* the features of some rows, of these transposed into memory, and of W stay in L1 together */
#define DEPTH ((XE_TRANSPOSES && !IN_REGISTERS ? 1024 : 2048) / (ptrdiff_t)sizeof(REAL))
/* numbers of two vectors of rows that are transposed into memory: DEPTH features, or less than twice as many at the end */
#define TRANSPOSED_VALUES (XE_TRANSPOSES && !IN_REGISTERS ? 4 * DEPTH * VL : 0)

static inline ptrdiff_t XE(padded)(ptrdiff_t n)
{
    return (n + VL - 1) / VL * VL;
}

static inline int XE(is_few)(const xe_linear *p)
{
    return p->n_outputs <= FEW_CLASSES;
}

/* Many outputs are cut into panels of PANEL vectors at most, of about the same size. Panel q starts at output
 * panel(q). */
static inline ptrdiff_t XE(n_panels)(ptrdiff_t n_outputs)
{
    return (n_outputs + PANEL * VL - 1) / (PANEL * VL);
}

static inline ptrdiff_t XE(panel)(ptrdiff_t n_outputs, ptrdiff_t q)
{
    return XE(padded)(n_outputs) / VL * q / XE(n_panels)(n_outputs) * VL;
}

/* ---- coefficients, which each evaluation packs once ----
 *
 * Up to DOTTED outputs, they are (R, d'), and b is (R). For a few more, they are (d, R), and b is (R). For many,
 * they are panels of classes, feature after feature, and b is (R'); a padding class has b = -inf, so its exp and its
 * gradient are 0. */
static inline ptrdiff_t XE(n_packed)(const xe_linear *p)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs;
    return R <= DOTTED ? R * XE(padded)(d) : d * (XE(is_few)(p) ? R : XE(padded)(R));
}

static size_t XE(dense_packed)(const xe_linear *p)
{
    return (size_t)(XE(n_packed)(p) + XE(padded)(p->n_outputs)) * sizeof(REAL);
}

static void XE(dense_pack)(const xe_linear *p, const double *coef, const double *intercept, ptrdiff_t begin,
                           ptrdiff_t end, REAL *to)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs, columns = XE(padded)(R), stride = XE(padded)(d);
    const int few = XE(is_few)(p);
    if (R <= DOTTED) {
        for (ptrdiff_t k = 0; k < R; k++)
            for (ptrdiff_t j = begin; j < (end < d ? end : stride); j++)
                to[k * stride + j] = j < d ? (REAL)coef[j * R + k] : 0;
    } else if (few) {
        for (ptrdiff_t i = begin * R; i < end * R; i++) to[i] = (REAL)coef[i];
    } else {
        for (ptrdiff_t q = 0; q < XE(n_panels)(R); q++) {
            const ptrdiff_t k = XE(panel)(R, q), width = XE(panel)(R, q + 1) - k, n = R - k < width ? R - k : width;
            for (ptrdiff_t j = begin; j < end; j++) {
                REAL *row = to + k * d + j * width;
                for (ptrdiff_t c = 0; c < n; c++) row[c] = (REAL)coef[j * R + k + c];
                for (ptrdiff_t c = n; c < width; c++) row[c] = 0;
            }
        }
    }
    if (end < d) return;
    to += XE(n_packed)(p);
    for (ptrdiff_t k = 0; k < (few ? R : columns); k++) to[k] = k < R ? (REAL)intercept[k] : -(REAL)INFINITY;
}

/* ---- a block of rows ---- */

typedef struct {
    const REAL *x;
    ptrdiff_t stride, n_features; /* n_features may include zeros up to whole vectors */
    const char *ahead;            /* the next block in memory, which the arithmetic of this one prefetches */
    ptrdiff_t share;              /* its bytes for each byte of REAL: 2 if doubles are read as floats */
} XE(rows);

/* Prefetches the next `lines` cache lines. The memory works only on request, so the loops over a block prefetch the
 * next one: half of it while they compute logits, half of it while they compute the gradient. */
XE_INLINE const char *XE(prefetch)(const char *ahead, ptrdiff_t lines)
{
    XE_UNROLL
    for (ptrdiff_t i = 0; i < lines; i++) XE_PREFETCH(ahead + 64 * i);
    return ahead + 64 * lines;
}

/* Returns rows of X as REAL, without a copy if possible. They have to be copied if they are of another type, or
 * shifted, or selected, or if the end of a row cannot be loaded under a mask, or if one of them is ignored: it may
 * hold NaN, and 0 * NaN would reach the gradient, so its copy is zero. copy_rows then copies a part at a time to
 * scratch, just before the part is used. */
static XE(rows) XE(dense_block)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n_rows, REAL *scratch)
{
    const ptrdiff_t d = p->n_features, stride = XE(padded)(d), size = p->x_is_float ? sizeof(float) : sizeof(double);
    const double *s = p->target.sample_weight;
    const char *x = (const char *)p->x + first * d * size;
    int in_place = p->x_is_float == XE_IS_FLOAT && !p->shift && (XE_MASKED_LOADS ? d >= VL : stride == d);
    for (ptrdiff_t r = 0; s && r < n_rows; r++) in_place &= s[first + r] != 0.0;
    const ptrdiff_t share = size > (ptrdiff_t)sizeof(REAL) ? 2 : 1;
    const XE(rows) here = {(const REAL *)(const void *)x, d, d, x + n_rows * d * size, share};
    /* of selected rows no next block is known, and this prefetches nothing new */
    const XE(rows) copy = {scratch, stride, stride, p->rows ? (const char *)scratch : here.ahead, share};
    return in_place && !p->rows ? here : copy;
}

/* Copies rows first + begin..first + end of X, features from..to, to their places in the copy of the block. */
static void XE(copy_rows)(const xe_linear *p, ptrdiff_t first, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t from,
                          ptrdiff_t to, REAL *scratch)
{
    const ptrdiff_t d = p->n_features, stride = XE(padded)(d), stop = to < d ? to : d;
    const double *s = p->target.sample_weight;
    for (ptrdiff_t r = begin; r < end; r++) {
        const ptrdiff_t at = (p->rows ? p->rows[first + r] : first + r) * d;
        REAL *row = scratch + r * stride;
        ptrdiff_t j = from;
        if (s && s[first + r] == 0.0) {
            memset(row + from, 0, (size_t)(to - from) * sizeof(REAL));
        } else if (p->shift) {
            const float *xf = p->x;
            const double *xd = p->x;
            for (; j < stop; j++) row[j] = (REAL)((p->x_is_float ? (double)xf[at + j] : xd[at + j]) - p->shift[j]);
            for (; j < to; j++) row[j] = 0;
        } else if (p->x_is_float == XE_IS_FLOAT) {
            const REAL *x = (const REAL *)p->x + at;
            for (; j + VL <= stop; j += VL) XE(store)(row + j, XE(load)(x + j));
            if (j < stop) XE(store)(row + j, XE(load_n)(x + j, stop - j));
        } else if (p->x_is_float) {
            const float *x = (const float *)p->x + at;
            for (; j < stop; j++) row[j] = (REAL)x[j];
            for (; j < to; j++) row[j] = 0;
        } else {
            const double *x = (const double *)p->x + at;
            for (; j < stop; j++) row[j] = (REAL)x[j];
            for (; j < to; j++) row[j] = 0;
        }
    }
}

/* If rows have n vectors, ASKING(n) rows prefetch HALF_LINES(n) lines together: half as many as these rows have. */
#define ASKING(n) (XE_BYTES >= 64 ? 1 : (n) > 4 ? 2 : (n) > 2 ? 4 : (n) > 1 ? 8 : 16)
#define HALF_LINES(n) (((n) * ASKING(n) * XE_BYTES + 127) / 128)

/* ---- the gradient: n_k outputs by n_v vectors of features stay in registers during the loop over the rows ----
 *
 * g of row r and output k lies at g + r g_row + k g_class. Adds to the doubles to (n_k, to_stride). The last vector
 * lies at `last`, and its first `counted` lanes are left out, because the tile before has them too. Every ASKING
 * rows, `lines` lines of the next block are prefetched. */
XE_INLINE const char *XE(gradient_tile)(const int n_k, const int n_v, const REAL *x, ptrdiff_t x_stride, ptrdiff_t last,
                                        ptrdiff_t counted, const REAL *g, ptrdiff_t g_row, ptrdiff_t g_class,
                                        ptrdiff_t n_rows, double *to, ptrdiff_t to_stride, ptrdiff_t lines,
                                        const char *ahead)
{
    V acc[12][8];
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) acc[k][v] = XE(set1)(0);
    for (ptrdiff_t r = 0; r < n_rows; r++, x += x_stride, g += g_row) {
        V x_v[8];
        if (r % ASKING(n_v) == 0) ahead = XE(prefetch)(ahead, lines);
        XE_UNROLL
        for (int v = 0; v < n_v; v++) x_v[v] = XE(load)(x + (v < n_v - 1 ? v * VL : last));
        XE_UNROLL
        for (int k = 0; k < n_k; k++) {
            const V g_k = XE(set1)(g[k * g_class]);
            XE_UNROLL
            for (int v = 0; v < n_v; v++) acc[k][v] += g_k * x_v[v];
        }
    }
    if (counted)
        XE_UNROLL
        for (int k = 0; k < n_k; k++) acc[k][n_v - 1] = XE(zero_n)(acc[k][n_v - 1], counted);
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++)
            XE(wide_store)(to + k * to_stride + (v < n_v - 1 ? v * VL : last), acc[k][v], 1);
    return ahead;
}

/* The same for a panel of n_v vectors, at most PANEL, and adjacent outputs. */
XE_INLINE void XE(panel_gradient)(const int n_k, ptrdiff_t n_v, const REAL *x, ptrdiff_t x_stride, const REAL *g,
                                  ptrdiff_t g_row, ptrdiff_t n_rows, double *to, ptrdiff_t to_stride)
{
    if (n_v == 3)
        XE(gradient_tile)(n_k, 3, x, x_stride, 2 * VL, 0, g, g_row, 1, n_rows, to, to_stride, 0, NULL);
    else if (n_v == 2)
        XE(gradient_tile)(n_k, 2, x, x_stride, VL, 0, g, g_row, 1, n_rows, to, to_stride, 0, NULL);
    else
        XE(gradient_tile)(n_k, 1, x, x_stride, 0, 0, g, g_row, 1, n_rows, to, to_stride, 0, NULL);
}

/* Adds the sum of g (R, g_stride) over the rows to `to` (R). */
static void XE(intercept_gradient)(ptrdiff_t R, ptrdiff_t n_rows, const REAL *g, ptrdiff_t g_stride, double *to)
{
    for (ptrdiff_t k = 0; k < R; k++, g += g_stride) {
        V sum = XE(set1)(0);
        ptrdiff_t r = 0;
        for (; r + VL <= n_rows; r += VL) sum += XE(load)(g + r);
        if (r < n_rows) sum += XE(load_n)(g + r, n_rows - r);
        to[k] += (double)XE(reduce_add)(sum);
    }
}

/* ---- the pass ---- */

static ptrdiff_t XE(dense_partial)(const xe_linear *p)
{
    const ptrdiff_t rows = XE(is_few)(p) ? p->n_outputs : XE(padded)(p->n_outputs);
    return rows * (XE(padded)(p->n_features) + 1);
}

/* Returns block_rows, rounded up to whole vectors and tiles. */
static inline ptrdiff_t XE(block_stride)(const xe_linear *p)
{
    return (p->block_rows + 31) / 32 * 32;
}

static size_t XE(dense_scratch)(const xe_linear *p)
{
    const ptrdiff_t stride = XE(block_stride)(p), R = p->n_outputs;
    /* logits and gradient, and both row by row for losses.h; X, and with one output the block before; a tile of X */
    const ptrdiff_t values = 4 * XE(padded)(R) + (R == 1 ? 2 : 1) * XE(padded)(p->n_features) + PANEL * VL;
    const ptrdiff_t transposed = R > DOTTED && XE(is_few)(p) ? TRANSPOSED_VALUES : 0;
    return (size_t)(BLOCK_BYTES(stride) + (stride * values + transposed) * (ptrdiff_t)sizeof(REAL));
}

/* Returns where the losses of the rows from `first` on go, or NULL. */
static inline double *XE(losses_of)(const xe_linear *p, ptrdiff_t first)
{
    return p->row_loss ? p->row_loss + first : NULL;
}

/* Copies the losses of n rows to row_loss, if that is not NULL. */
static void XE(keep_losses)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n, const XE(block) * b)
{
    if (p->row_loss) memcpy(p->row_loss + first, b->loss, (size_t)n * sizeof(double));
}

#endif
