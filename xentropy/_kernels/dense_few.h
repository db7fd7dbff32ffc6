/* Dense X and few outputs, but at least two. Logits are kept class by class (R, stride): a lane of the softmax is a
 * row, so no lane is wasted on a row of 3 or 10 classes. Up to DOTTED outputs, logits are dot products along the
 * features. With more, a lane is a row there too, and X is transposed. */
#ifndef XENTROPY_DENSE_FEW_H
#define XENTROPY_DENSE_FEW_H

#include "dense.h"
#include "sigmoid.h"

/* A tile of the gradient has n outputs, at most MAX_OUTPUTS, beside which two vectors of features fit, and as many
 * vectors of features as there are registers for. A strip, which is the tile of logits of transposed X, has at most
 * as many outputs, and two vectors of rows if there is room: a coefficient is then loaded once for both. */
#define MAX_OUTPUTS (XE_TILE / 2 - 2)
#define FITTING_VECTORS(n) (XE_TILE / ((n) + 1))
/* With less than four outputs, an odd number of vectors was slower than one less. */
#define EVEN_VECTORS(n) (FITTING_VECTORS(n) > 4 && (n) < 4 ? FITTING_VECTORS(n) / 2 * 2 : FITTING_VECTORS(n))
#define TILE_VECTORS(n) (EVEN_VECTORS(n) < 8 ? EVEN_VECTORS(n) : 8)
#define STRIP MAX_OUTPUTS
#define LEAST_STRIP ((STRIP + 1) / 2 < DOTTED + 1 ? (STRIP + 1) / 2 : DOTTED + 1)
#define EACH_TILE TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
#define STRIP_VECTORS(n) (!IN_REGISTERS || (n) <= (XE_IS_FLOAT ? 10 : 6) ? 2 : 1)
#define STEPS 16 /* so many features of the rows of a strip prefetch lines of the next block together */

_Static_assert(MAX_OUTPUTS <= 12, "EACH_TILE and the accumulators of a tile end at 12");

/* ---- logits of few outputs: dot products of ROWS rows with n_k rows of W ---- */

XE_INLINE const char *XE(dot_tile)(const int n_k, ptrdiff_t lines, XE(rows) x, const ptrdiff_t *row, ptrdiff_t from,
                                   ptrdiff_t d, const REAL *w, ptrdiff_t w_stride, const REAL *intercept, REAL *z,
                                   ptrdiff_t z_stride, const char *ahead)
{
    const ptrdiff_t whole = d / VL * VL;
    V acc[3][ROWS];
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int r = 0; r < ROWS; r++) acc[k][r] = XE(set1)(0);
    for (ptrdiff_t j = from; j < whole; j += VL) {
        V w_k[3];
        XE_UNROLL
        for (int k = 0; k < n_k; k++) w_k[k] = XE(load)(w + k * w_stride + j);
        XE_UNROLL
        for (int r = 0; r < ROWS; r++) {
            V x_r = XE(load)(x.x + row[r] + j);
            XE_KEEP(x_r);
            XE_UNROLL
            for (int k = 0; k < n_k; k++) acc[k][r] += x_r * w_k[k];
        }
        ahead = XE(prefetch)(ahead, lines);
    }
    if (whole < d) {
        V w_k[3];
        XE_UNROLL
        for (int k = 0; k < n_k; k++) w_k[k] = XE(load)(w + k * w_stride + whole);
        XE_UNROLL
        for (int r = 0; r < ROWS; r++) {
            const V x_r = XE(load_n)(x.x + row[r] + whole, d - whole);
            XE_UNROLL
            for (int k = 0; k < n_k; k++) acc[k][r] += x_r * w_k[k];
        }
    }
    XE_UNROLL
    for (int k = 0; k < n_k; k++) XE(reduce_rows)(acc[k], intercept ? intercept + k : NULL, z + k * z_stride);
    return ahead;
}

/* Computes all outputs of ROWS rows, features from..to. With more outputs, there are more steps to prefetch half the
 * lines of the next block. */
XE_INLINE const char *XE(dot_rows)(ptrdiff_t R, XE(rows) x, const ptrdiff_t *row, ptrdiff_t from, ptrdiff_t to,
                                   const REAL *w, ptrdiff_t w_stride, const REAL *intercept, REAL *z,
                                   ptrdiff_t stride, const char *ahead)
{
    enum { HALF = (ROWS * XE_BYTES + 127) / 128, EIGHTH = (HALF + 3) / 4 };
#define TILE(n_k, lines) \
    XE(dot_tile)(n_k, x.share * (lines), x, row, from, to, w, w_stride, intercept, z, stride, ahead)
    if (R == 2) return TILE(2, HALF);
    if (R == 3) return TILE(3, HALF);
#if !XE_TRANSPOSES
    for (; R > 0; R -= 3, w += 3 * w_stride, z += 3 * stride, intercept += intercept ? 3 : 0)
        ahead = R == 1 ? TILE(1, EIGHTH) : R == 2 ? TILE(2, EIGHTH) : TILE(3, EIGHTH);
#endif
#undef TILE
    return ahead;
}

#if XE_TRANSPOSES
/* ---- logits of a few outputs: a lane is a row, and X is transposed ----
 *
 * Registers hold a strip of outputs. X is transposed in registers, or once into `panel` (to - from, 2 VL) for two
 * vectors of rows and all strips. w is (d, w_stride). z (n_k, z_stride) starts at the intercepts, or continues if
 * they are NULL. */
#if IN_REGISTERS
XE_INLINE void XE(transposed_step)(const int n_k, const int n_v, ptrdiff_t n, const REAL *x, const ptrdiff_t *row,
                               const REAL *w, ptrdiff_t w_stride, V acc[STRIP][2])
{
    V x_v[2][TRANSPOSED];
    XE_UNROLL
    for (int v = 0; v < n_v; v++) XE(transpose)(x, row + v * VL, n, x_v[v]);
    XE_UNROLL
    for (int c = 0; c < TRANSPOSED; c++, w += w_stride) {
        if (c >= n) break;
        XE_UNROLL
        for (int k = 0; k < n_k; k++) {
            const V w_k = XE(set1)(w[k]);
            XE_UNROLL
            for (int v = 0; v < n_v; v++) acc[k][v] += x_v[v][c] * w_k;
        }
    }
}

XE_INLINE const char *XE(strip_logits)(const int n_k, const int n_v, XE(rows) x, const ptrdiff_t *row, ptrdiff_t from,
                                       ptrdiff_t to, const REAL *w, ptrdiff_t w_stride, const REAL *intercept, REAL *z,
                                       ptrdiff_t z_stride, const char *ahead)
{
    const int lines = n_v * (int)(VL * TRANSPOSED * (ptrdiff_t)sizeof(REAL) / 128); /* half the lines of a step */
    V acc[STRIP][2];
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++)
            acc[k][v] = intercept ? XE(set1)(intercept[k]) : XE(load)(z + k * z_stride + v * VL);
    ptrdiff_t j = from;
    for (; j + TRANSPOSED <= to; j += TRANSPOSED) {
        XE(transposed_step)(n_k, n_v, TRANSPOSED, x.x + j, row, w + j * w_stride, w_stride, acc);
        ahead = XE(prefetch)(ahead, lines);
        if (x.share > 1) ahead = XE(prefetch)(ahead, lines);
    }
    if (j < to) XE(transposed_step)(n_k, n_v, to - j, x.x + j, row, w + j * w_stride, w_stride, acc);
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) XE(store)(z + k * z_stride + v * VL, acc[k][v]);
    return ahead;
}

/* Computes all outputs of two vectors of rows, of which n exist. Each strip of outputs prefetches the same lines. */
XE_INLINE const char *XE(transposed_rows)(ptrdiff_t R, ptrdiff_t n, XE(rows) x, const ptrdiff_t *row, ptrdiff_t from,
                                      ptrdiff_t to, const REAL *w, const REAL *intercept, REAL *z, ptrdiff_t stride,
                                      REAL *panel, const char *ahead)
{
    const ptrdiff_t n_strips = (R + STRIP - 1) / STRIP;
    const char *next = ahead;
    (void)panel;
    for (ptrdiff_t s = 0; s < n_strips; s++) {
        const ptrdiff_t k = R * s / n_strips;
        const REAL *start = intercept ? intercept + k : NULL;
        REAL *z_k = z + k * stride;
        next = ahead;
        switch (R * (s + 1) / n_strips - k) {
#define TILE(n_k)                                                                                             \
    case n_k:                                                                                                 \
        if (n_k < LEAST_STRIP || n_k > STRIP) break;                                                          \
        for (ptrdiff_t r = 0; r < 2 * VL && r < n; r += STRIP_VECTORS(n_k) * VL)                              \
            next = XE(strip_logits)(n_k, STRIP_VECTORS(n_k), x, row + r, from, to, w + k, R, start, z_k + r, \
                                     stride, next);                                                          \
        break;
            EACH_TILE
#undef TILE
        }
    }
    return next;
}
#else
/* Transposes n features from x + row[i] on, i < VL, to the columns i of panel (n, 2 VL). */
XE_INLINE void XE(transpose_rows)(const REAL *x, const ptrdiff_t *row, ptrdiff_t n, REAL *panel)
{
    for (ptrdiff_t j = 0; j < n; j += TRANSPOSED) {
        const ptrdiff_t left = n - j;
        V x_v[TRANSPOSED];
        XE(transpose)(x + j, row, left, x_v);
        XE_UNROLL
        for (int c = 0; c < TRANSPOSED; c++) XE(store)(panel + (j + c) * 2 * VL, x_v[c]);
    }
}

XE_INLINE const char *XE(strip_logits)(const int n_k, ptrdiff_t n, const REAL *panel, const REAL *w, ptrdiff_t w_stride,
                                       const REAL *intercept, REAL *z, ptrdiff_t z_stride, ptrdiff_t lines,
                                       const char *ahead)
{
    V acc[STRIP][2];
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < 2; v++)
            acc[k][v] = intercept ? XE(set1)(intercept[k]) : XE(load)(z + k * z_stride + v * VL);
    for (ptrdiff_t j = 0; j < n; j++, panel += 2 * VL, w += w_stride) {
        V x_0 = XE(load)(panel), x_1 = XE(load)(panel + VL);
        XE_KEEP(x_0);
        XE_KEEP(x_1);
        if (j % STEPS == 0) ahead = XE(prefetch)(ahead, lines);
        XE_UNROLL
        for (int k = 0; k < n_k; k++) {
            const V w_k = XE(set1)(w[k]);
            acc[k][0] += x_0 * w_k;
            acc[k][1] += x_1 * w_k;
        }
    }
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < 2; v++) XE(store)(z + k * z_stride + v * VL, acc[k][v]);
    return ahead;
}

/* Computes all outputs of two vectors of rows. */
XE_INLINE const char *XE(transposed_rows)(ptrdiff_t R, ptrdiff_t n, XE(rows) x, const ptrdiff_t *row, ptrdiff_t from,
                                      ptrdiff_t to, const REAL *w, const REAL *intercept, REAL *z, ptrdiff_t stride,
                                      REAL *panel, const char *ahead)
{
    const ptrdiff_t n_strips = (R + STRIP - 1) / STRIP, half = x.share * STEPS * 2 * XE_BYTES / 128;
    (void)n;
    for (ptrdiff_t v = 0; v < 2; v++) XE(transpose_rows)(x.x + from, row + v * VL, to - from, panel + v * VL);
    for (ptrdiff_t s = 0; s < n_strips; s++) {
        const ptrdiff_t k = R * s / n_strips;
        const REAL *start = intercept ? intercept + k : NULL, *w_k = w + from * R + k;
        switch (R * (s + 1) / n_strips - k) {
#define TILE(n_k)                                                                                                 \
    case n_k:                                                                                                     \
        if (n_k < LEAST_STRIP || n_k > STRIP) break;                                                              \
        ahead = XE(strip_logits)(n_k, to - from, panel, w_k, R, start, z + k * stride, stride, half / n_strips,   \
                                 ahead);                                                                          \
        break;
            EACH_TILE
#undef TILE
        }
    }
    return ahead;
}
#endif
#endif

/* Computes z (R, stride), for n_rows rows and up to the end of the last vector, which repeats the last row. panel
 * (TRANSPOSED_VALUES) is scratch. */
XE_HOT void XE(few_logits)(const xe_linear *p, ptrdiff_t first, XE(rows) x, ptrdiff_t n_rows, REAL *copy, REAL *z,
                           ptrdiff_t stride, REAL *panel)
{
    enum { MOST = ROWS > 2 * VL ? ROWS : 2 * VL }; /* rows in a step */
    const ptrdiff_t R = p->n_outputs, w_stride = XE(padded)(p->n_features);
    const ptrdiff_t step = R <= DOTTED ? ROWS : 2 * VL;
    const ptrdiff_t d = R <= DOTTED ? x.n_features : p->n_features; /* if X is transposed, W has no padding */
    const REAL *w = p->packed, *intercept = w + XE(n_packed)(p);
    const char *ahead = x.ahead;
    (void)panel;
    for (ptrdiff_t from = 0; from == 0 || from < d; from += DEPTH) {
        const ptrdiff_t to = d - from < 2 * DEPTH ? d : from + DEPTH, copied = to < d ? to : x.n_features;
        const REAL *start = from ? NULL : intercept;
        for (ptrdiff_t r = 0; r < n_rows || r % VL; r += step) {
            ptrdiff_t row[MOST];
            for (ptrdiff_t i = 0; i < step; i++) row[i] = (r + i < n_rows ? r + i : n_rows - 1) * x.stride;
            if (x.x == copy) XE(copy_rows)(p, first, r, r + step < n_rows ? r + step : n_rows, from, copied, copy);
#if XE_TRANSPOSES
            if (R > DOTTED)
                ahead = XE(transposed_rows)(R, n_rows - r, x, row, from, to, w, start, z + r, stride, panel, ahead);
            else
#endif
                ahead = XE(dot_rows)(R, x, row, from, to, w, w_stride, start, z + r, stride, ahead);
        }
        if (to == d) break;
    }
}

/* ---- the gradient ---- */

/* Adds the gradient of n_k outputs for all features, at least VL. */
XE_INLINE const char *XE(gradient_strip)(const int n_k, const int n_v, XE(rows) x, const REAL *g, ptrdiff_t g_class,
                                         ptrdiff_t n_rows, double *to, ptrdiff_t to_stride, ptrdiff_t n_strips,
                                         const char *ahead)
{
    const ptrdiff_t d = x.n_features;
    ptrdiff_t j = 0;
    for (; j + n_v * VL <= d; j += n_v * VL)
        ahead = XE(gradient_tile)(n_k, n_v, x.x + j, x.stride, (n_v - 1) * VL, 0, g, 1, g_class, n_rows, to + j,
                                  to_stride, (x.share * HALF_LINES(n_v) + n_strips - 1) / n_strips, ahead);
    const ptrdiff_t n_rest = (d - j + VL - 1) / VL, last = d - j - VL, counted = n_rest * VL - (d - j);
#define REST(n)                                                                                                     \
    if (n <= n_v && n == n_rest)                                                                                    \
        return XE(gradient_tile)(n_k, n, x.x + j, x.stride, last, counted, g, 1, g_class, n_rows, to + j, to_stride, \
                                 (x.share * HALF_LINES(n) + n_strips - 1) / n_strips, ahead);
    REST(1) REST(2) REST(3) REST(4) REST(5) REST(6) REST(7) REST(8)
#undef REST
    return ahead;
}

/* Adds the gradient of all outputs, from g (R, g_stride). */
XE_HOT void XE(few_gradient)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, const REAL *g, ptrdiff_t g_stride,
                             double *to)
{
    const ptrdiff_t R = p->n_outputs, stride = XE(padded)(p->n_features);
    const ptrdiff_t n_strips = (R + MAX_OUTPUTS - 1) / MAX_OUTPUTS;
    const char *ahead = x.ahead + n_rows * p->n_features * (p->x_is_float ? 4 : 8) / 2;
    for (ptrdiff_t s = 0; s < n_strips; s++) {
        const ptrdiff_t k = R * s / n_strips, n_k = R * (s + 1) / n_strips - k;
        switch (n_k) {
#define TILE(n)                                                                                                     \
    case n:                                                                                                         \
        if (n > MAX_OUTPUTS) break;                                                                                 \
        ahead = XE(gradient_strip)(n, TILE_VECTORS(n), x, g + k * g_stride, g_stride, n_rows, to + k * stride, stride, \
                                   n_strips, ahead);                                                                \
        break;
            EACH_TILE
#undef TILE
        }
    }
}

/* Computes grad_X (n_rows, d) = G W from g (R, g_stride) and coefficients in the order of dense_pack. */
static void XE(few_input_gradient)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n_rows, const REAL *g,
                                   ptrdiff_t g_stride)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs, stride = XE(padded)(d);
    const REAL *w = p->packed;
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        REAL *to = (REAL *)p->grad_x + (first + r) * d;
        if (R <= DOTTED) {
            memset(to, 0, (size_t)d * sizeof(REAL));
            for (ptrdiff_t k = 0; k < R; k++)
                for (ptrdiff_t j = 0; j < d; j++) to[j] += g[k * g_stride + r] * w[k * stride + j];
        } else {
            for (ptrdiff_t j = 0; j < d; j++) {
                REAL sum = 0;
                for (ptrdiff_t k = 0; k < R; k++) sum += g[k * g_stride + r] * w[j * R + k];
                to[j] = sum;
            }
        }
    }
}

/* Returns the sum of the losses of n rows with logits z (R, stride), and writes their gradient to g (R, stride).
 * z_rows and g_rows (n, R) are scratch. Losses of labels are added to label_loss (R) instead. */
static double XE(column_gradient)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n, REAL *z, REAL *g, REAL *z_rows,
                                  REAL *g_rows, ptrdiff_t stride, double *label_loss, const XE(block) * b)
{
    const ptrdiff_t R = p->n_outputs;
    double sum = 0.0;
    if (p->indicator.y) {
        XE(label_columns)(p, first, n, z, g, stride, label_loss, b);
    } else if (R < p->target.n_classes) {
        sum = XE(sigmoid_rows)(&p->target, first, n, z, g, XE(losses_of)(p, first));
        XE(flush_tiny)(g, n, b);
    } else if (p->target.loss.kind == xe_kind_cross_entropy) {
        sum = XE(column_losses)(&p->target, first, n, z, g, z_rows, stride, 1, b);
        XE(keep_losses)(p, first, n, b);
    } else {
        XE(columns_to_rows)(z, stride, n, R, R, z_rows);
        sum = XE(phi_softmax_rows)(&p->target, first, n, z_rows, g_rows, XE(losses_of)(p, first));
        XE(rows_to_columns)(g_rows, n, R, R, NULL, g, stride);
    }
    return sum;
}

static double XE(few_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    const ptrdiff_t stride = XE(block_stride)(p), R = p->n_outputs;
    XE(block) b;
    REAL *z = (REAL *)XE(init_block)(scratch, stride, &b), *g = z + R * stride, *rows = g + R * stride;
    XE(flush_denormals)(&b);
    REAL *z_rows = rows + stride * XE(padded)(p->n_features), *g_rows = z_rows + R * stride;
    REAL *panel = g_rows + R * stride;
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows;
        const XE(rows) x = XE(dense_block)(p, first, n, rows);
        XE(few_logits)(p, first, x, n, rows, z, stride, panel);
        sum += XE(column_gradient)(p, first, n, z, g, z_rows, g_rows, stride, grad + XE(dense_partial)(p), &b);
        XE(few_gradient)(p, x, n, g, stride, grad);
        XE(intercept_gradient)(R, n, g, stride, grad + R * XE(padded)(p->n_features));
        if (p->grad_x) XE(few_input_gradient)(p, first, n, g, stride);
    }
    return sum;
}

#endif
