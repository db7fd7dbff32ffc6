/* Dense X and many outputs. Logits are a blocked matrix product, where a lane is a class, and are kept row by row. */
#ifndef XENTROPY_DENSE_MANY_H
#define XENTROPY_DENSE_MANY_H

#include "dense.h"

/* ---- logits of many outputs: ROWS rows by n_v vectors of classes, with features broadcast ---- */

XE_INLINE void XE(panel_tile)(const int n_v, XE(rows) x, const ptrdiff_t *row, ptrdiff_t begin, ptrdiff_t end,
                              const REAL *w, REAL *z, ptrdiff_t z_stride, const REAL *intercept)
{
    V acc[ROWS][PANEL];
    XE_UNROLL
    for (int r = 0; r < ROWS; r++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) acc[r][v] = XE(load)(intercept ? intercept + v * VL : z + r * z_stride + v * VL);
    w += begin * n_v * VL;
    for (ptrdiff_t j = begin; j < end; j++, w += n_v * VL) {
        V w_v[PANEL];
        XE_UNROLL
        for (int v = 0; v < n_v; v++) w_v[v] = XE(load)(w + v * VL);
        XE_UNROLL
        for (int r = 0; r < ROWS; r++) {
            const V x_r = XE(set1)(x.x[row[r] + j]);
            XE_UNROLL
            for (int v = 0; v < n_v; v++) acc[r][v] += x_r * w_v[v];
        }
    }
    XE_UNROLL
    for (int r = 0; r < ROWS; r++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) XE(store)(z + r * z_stride + v * VL, acc[r][v]);
}

/* Computes z (n_rows, stride), and up to the end of the last ROWS rows, which repeat the last one. */
XE_HOT void XE(many_logits)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, REAL *z, ptrdiff_t stride)
{
    enum { STAY = 128, LINE = 64 / sizeof(REAL) }; /* so many features of W stay in L1 */
    const ptrdiff_t d = p->n_features, columns = XE(padded)(p->n_outputs);
    const REAL *intercept = (const REAL *)p->packed + columns * d;
    for (ptrdiff_t begin = 0; begin == 0 || begin < d; begin += STAY) {
        const ptrdiff_t end = d - begin < STAY ? d : begin + STAY;
        for (ptrdiff_t q = 0; q < XE(n_panels)(p->n_outputs); q++) {
            const ptrdiff_t k = XE(panel)(p->n_outputs, q), n_v = (XE(panel)(p->n_outputs, q + 1) - k) / VL;
            const REAL *w = (const REAL *)p->packed + k * d, *b = begin == 0 ? intercept + k : NULL;
            for (ptrdiff_t r = 0; r < n_rows; r += ROWS) {
                ptrdiff_t row[ROWS];
                for (ptrdiff_t i = 0; i < ROWS; i++) row[i] = (r + i < n_rows ? r + i : n_rows - 1) * x.stride;
                REAL *to = z + r * stride + k, *next = to + ROWS * stride;
                for (ptrdiff_t i = 0; i < ROWS; i++)
                    for (ptrdiff_t v = 0; v < n_v * VL; v += LINE) XE_PREFETCH_L1(next + i * stride + v);
                if (n_v == 3)
                    XE(panel_tile)(3, x, row, begin, end, w, to, stride, b);
                else if (n_v == 2)
                    XE(panel_tile)(2, x, row, begin, end, w, to, stride, b);
                else
                    XE(panel_tile)(1, x, row, begin, end, w, to, stride, b);
            }
        }
    }
}

/* ---- the gradient ---- */

/* Adds the gradient from g in tiles of VL outputs, g_tile apart; a tile is (n_rows, VL). x_tile (n_rows, PANEL VL)
 * is scratch. */
XE_HOT void XE(many_gradient)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, const REAL *g, ptrdiff_t g_tile,
                              REAL *x_tile, double *to)
{
    enum { MOST = XE_REGISTERS / 4, N_K = VL < MOST ? VL : MOST }; /* N_K by PANEL accumulators */
    const ptrdiff_t d = x.n_features, columns = XE(padded)(p->n_outputs), stride = XE(padded)(p->n_features);
    const ptrdiff_t n_tiles = (p->n_outputs + N_K - 1) / N_K * ((d + PANEL * VL - 1) / (PANEL * VL));
    const ptrdiff_t lines = n_rows * p->n_features * (p->x_is_float ? sizeof(float) : sizeof(double)) / 64;
    const ptrdiff_t share = n_tiles ? lines / n_tiles + 1 : 0; /* lines of the next block that each tile prefetches */
    const char *ahead = x.ahead;
    for (ptrdiff_t j = 0; j < d; j += PANEL * VL) {
        const ptrdiff_t n_v = d - j < PANEL * VL ? (d - j + VL - 1) / VL : PANEL, width = n_v * VL;
        const ptrdiff_t n = d - j < width ? d - j : width;
        for (ptrdiff_t r = 0; r < n_rows; r++)
            for (ptrdiff_t v = 0; v < width; v += VL)
                XE(store)(x_tile + r * width + v, n - v >= VL ? XE(load)(x.x + r * x.stride + j + v)
                                                              : XE(load_n)(x.x + r * x.stride + j + v, n - v));
        for (ptrdiff_t k = 0; k < p->n_outputs; k += N_K) {
            for (ptrdiff_t i = 0; i < share; i++, ahead += 64) XE_PREFETCH(ahead);
            const REAL *g_k = g + k / VL * g_tile + k % VL;
            double *to_k = to + k * stride + j;
            for (ptrdiff_t i = 0; i < N_K; i++) /* the gradient of many outputs is far from the core */
                for (ptrdiff_t v = 0; v < width; v += 8) XE_PREFETCH_L1(to_k + i * stride + v);
            XE(panel_gradient)(N_K, n_v, x_tile, width, g_k, VL, n_rows, to_k, stride);
        }
    }
    for (ptrdiff_t k = 0; k < columns; k += VL, g += g_tile) {
        V sum = XE(set1)(0);
        for (ptrdiff_t r = 0; r < n_rows; r++) sum += XE(load)(g + r * VL);
        XE(wide_store)(to + columns * stride + k, sum, 1);
    }
}

/* Computes grad_X (n_rows, d) = G W from g in tiles of VL outputs, g_tile apart. These are dot products along the
 * outputs, for a few rows at once. */
XE_HOT void XE(many_input_gradient)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n_rows, const REAL *g,
                                    ptrdiff_t g_tile)
{
    enum { N = 4 };
    const ptrdiff_t d = p->n_features, n_panels = XE(n_panels)(p->n_outputs);
    for (ptrdiff_t r = 0; r < n_rows; r += N) {
        const ptrdiff_t n = n_rows - r < N ? n_rows - r : N;
        const REAL *g_row[N];
        for (ptrdiff_t i = 0; i < N; i++) g_row[i] = g + (i < n ? r + i : r) * VL;
        REAL *to = (REAL *)p->grad_x + (first + r) * d;
        for (ptrdiff_t j = 0; j < d; j++) {
            V acc[N];
            for (int i = 0; i < N; i++) acc[i] = XE(set1)(0);
            for (ptrdiff_t q = 0; q < n_panels; q++) {
                const ptrdiff_t k = XE(panel)(p->n_outputs, q), width = XE(panel)(p->n_outputs, q + 1) - k;
                const REAL *w = (const REAL *)p->packed + k * d + j * width;
                for (ptrdiff_t v = 0; v < width; v += VL) {
                    const V w_v = XE(load)(w + v);
                    for (int i = 0; i < N; i++) acc[i] += w_v * XE(load)(g_row[i] + (k + v) / VL * g_tile);
                }
            }
            for (ptrdiff_t i = 0; i < n; i++) to[i * d + j] = XE(reduce_add)(acc[i]);
        }
    }
}

static double XE(many_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    const ptrdiff_t stride = XE(block_stride)(p), R = p->n_outputs, columns = XE(padded)(R);
    XE(block) b;
    REAL *z = (REAL *)XE(init_block)(scratch, stride, &b), *g = z + columns * stride, *rows = g + columns * stride;
    XE(flush_denormals)(&b);
    REAL *x_tile = rows + stride * XE(padded)(p->n_features);
    REAL *z_rows = x_tile + stride * PANEL * VL, *g_rows = z_rows + R * stride;
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows;
        const ptrdiff_t g_tile = n * VL;
        const XE(rows) x = XE(dense_block)(p, first, n, rows);
        if (x.x == rows) XE(copy_rows)(p, first, 0, n, 0, x.n_features, rows);
        XE(many_logits)(p, x, n, z, columns);
        if (p->indicator.y) {
            XE(label_rows)(p, first, n, z, z_rows, columns, grad + XE(dense_partial)(p), &b);
            for (ptrdiff_t k = 0; k < columns; k += VL)
                for (ptrdiff_t r = 0; r < n; r++)
                    XE(store)(g + k * n + r * VL, XE(load)(z_rows + r * columns + k));
        } else if (p->target.loss.kind == xe_kind_cross_entropy) {
            sum += XE(row_losses)(&p->target, first, n, z, columns, columns, g, VL, g_tile, &b);
            XE(keep_losses)(p, first, n, &b);
        } else {
            for (ptrdiff_t r = 0; r < n; r++)
                memcpy(z_rows + r * R, z + r * columns, (size_t)R * sizeof(REAL));
            sum += XE(phi_softmax_rows)(&p->target, first, n, z_rows, g_rows, XE(losses_of)(p, first));
            for (ptrdiff_t k = 0; k < columns; k += VL)
                for (ptrdiff_t r = 0; r < n; r++)
                    XE(store)(g + k * n + r * VL, R - k >= VL ? XE(load)(g_rows + r * R + k)
                                                              : XE(load_n)(g_rows + r * R + k, R - k));
        }
        XE(many_gradient)(p, x, n, g, g_tile, x_tile, grad);
        if (p->grad_x) XE(many_input_gradient)(p, first, n, g, g_tile);
    }
    return sum;
}

#endif
