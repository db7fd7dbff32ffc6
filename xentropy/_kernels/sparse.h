/* The fused pass over CSR X.
 *
 * Each value of X is multiplied with the R coefficients of its feature, which are adjacent: a lane is an output.
 * Coefficients and gradient are (d, stride), logits are (n, stride), and stride is R rounded up to whole short
 * vectors. The time is that of moving them between the caches, so their rows are as short, and lie in as few cache
 * lines, as possible. If nnz is small beside d, copying the coefficients and the gradient would take as long as the
 * pass, and it works in_place.
 */
#ifndef XENTROPY_SPARSE_H
#define XENTROPY_SPARSE_H

#include "dense.h"
#include "sigmoid.h"

static inline ptrdiff_t XE(row_stride)(ptrdiff_t n_outputs)
{
    return n_outputs == 1 ? 1 : (n_outputs + HL - 1) / HL * HL;
}

/* Returns whether coefficients are read without a copy. Tiles can, as they load each one once, and rows of whole
 * vectors can. */
static inline int XE(reads_in_place)(const xe_linear *p)
{
    const int whole = !XE_IS_FLOAT && XE(row_stride)(p->n_outputs) == p->n_outputs;
    return p->in_place && (p->tiles.n_tiles || whole);
}

static inline ptrdiff_t XE(n_packed_features)(const xe_linear *p)
{
    return XE(reads_in_place)(p) ? 0 : p->n_features;
}

static inline const REAL *XE(sparse_coef)(const xe_linear *p)
{
    return XE(reads_in_place)(p) ? (const REAL *)(const void *)p->coef : p->packed;
}

static inline const REAL *XE(sparse_intercept)(const xe_linear *p)
{
    return (const REAL *)p->packed + XE(n_packed_features)(p) * XE(row_stride)(p->n_outputs);
}

static size_t XE(sparse_packed)(const xe_linear *p)
{
    return (size_t)((XE(n_packed_features)(p) + 1) * XE(row_stride)(p->n_outputs)) * sizeof(REAL);
}

/* Packs coefficients to (d, stride), unless they are read in place, and b to (stride). Padding outputs are 0, and so
 * is their gradient. */
static void XE(sparse_pack)(const xe_linear *p, const double *coef, const double *intercept, ptrdiff_t begin,
                            ptrdiff_t end, REAL *to)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs, stride = XE(row_stride)(R);
    for (ptrdiff_t j = begin; j < end && !XE(reads_in_place)(p); j++) {
        for (ptrdiff_t k = 0; k < R; k++) to[j * stride + k] = (REAL)coef[j * R + k];
        for (ptrdiff_t k = R; k < stride; k++) to[j * stride + k] = 0;
    }
    if (end < d) return;
    to += XE(n_packed_features)(p) * stride;
    for (ptrdiff_t k = 0; k < stride; k++) to[k] = k < R ? (REAL)intercept[k] : 0;
}

/* A partial is (d, stride) and the gradient of b (stride), or that of b alone. */
static ptrdiff_t XE(sparse_partial)(const xe_linear *p)
{
    return ((p->in_place ? 0 : p->n_features) + 1) * XE(row_stride)(p->n_outputs);
}

/* Returns whether the first tile zeroes the gradient as it goes, just before it adds to a part of it in the cache. */
static inline int XE(zeroes_on_the_way)(const xe_linear *p)
{
    return p->in_place && p->tiles.n_tiles && p->n_outputs > 1 && !p->tiles.by_length;
}

/* Returns the doubles from the gradient of one feature to that of the next. */
static inline ptrdiff_t XE(gradient_stride)(const xe_linear *p)
{
    return p->in_place ? p->n_outputs : XE(row_stride)(p->n_outputs);
}

static size_t XE(sparse_scratch)(const xe_linear *p)
{
    const ptrdiff_t R = p->n_outputs, block = XE(block_stride)(p), rows = block > LOGIT_ROWS ? block : LOGIT_ROWS;
    const ptrdiff_t tile = p->tiles.most_rows * XE(row_stride)(R);
    return (size_t)(BLOCK_BYTES(rows) + (4 * rows * (XE(padded)(R) + VL) + tile) * (ptrdiff_t)sizeof(REAL));
}

XE_INLINE ptrdiff_t XE(at)(const void *index, const int is_64, ptrdiff_t t)
{
    return is_64 ? (ptrdiff_t)((const int64_t *)index)[t] : (ptrdiff_t)((const int32_t *)index)[t];
}

XE_INLINE REAL XE(value)(const void *x, const int is_float, ptrdiff_t t)
{
    return is_float ? (REAL)((const float *)x)[t] : (REAL)((const double *)x)[t];
}

/* Goes through a row of any number of short vectors, at most MOST at a time: call(n, k) has a constant n, and k is
 * the first lane. */
#define MOST 6
#define EACH_PART(stride, call)                                            \
    for (ptrdiff_t k = 0; k < (stride); k += MOST * HL)                    \
        switch (((stride) - k) / HL) {                                     \
        case 1: call(1, k); break;                                         \
        case 2: call(2, k); break;                                         \
        case 3: call(3, k); break;                                         \
        case 4: call(4, k); break;                                         \
        case 5: call(5, k); break;                                         \
        default: call(6, k);                                               \
        }

/* One row: z = b + sum_t x_t w_t, in two sums to halve the chain of additions. Columns may repeat. */
XE_INLINE void XE(sparse_dot)(const int n_v, const int is_64, const int is_float, const void *x, const void *columns,
                              ptrdiff_t begin, ptrdiff_t end, ptrdiff_t stride, const REAL *w, const REAL *b, REAL *z)
{
    H even[MOST], odd[MOST];
    XE_UNROLL
    for (int v = 0; v < n_v; v++) even[v] = XE(load_short)(b + v * HL), odd[v] = XE(set1_short)(0);
    ptrdiff_t t = begin;
    for (; t + 2 <= end; t += 2) {
        const H x0 = XE(set1_short)(XE(value)(x, is_float, t)), x1 = XE(set1_short)(XE(value)(x, is_float, t + 1));
        const REAL *w0 = w + XE(at)(columns, is_64, t) * stride, *w1 = w + XE(at)(columns, is_64, t + 1) * stride;
        XE_KEEP_ADDRESS(w0);
        XE_KEEP_ADDRESS(w1);
        XE_UNROLL
        for (int v = 0; v < n_v; v++)
            even[v] += x0 * XE(load_short)(w0 + v * HL), odd[v] += x1 * XE(load_short)(w1 + v * HL);
    }
    if (t < end) {
        const H x0 = XE(set1_short)(XE(value)(x, is_float, t));
        const REAL *w0 = w + XE(at)(columns, is_64, t) * stride;
        XE_UNROLL
        for (int v = 0; v < n_v; v++) even[v] += x0 * XE(load_short)(w0 + v * HL);
    }
    XE_UNROLL
    for (int v = 0; v < n_v; v++) XE(store_short)(z + v * HL, even[v] + odd[v]);
}

/* One row: to_t += x_t g for n outputs. */
XE_INLINE void XE(sparse_update)(const int n_v, const int is_64, const int is_float, const void *x,
                                 const void *columns, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t stride, ptrdiff_t n,
                                 const REAL *g, double *to)
{
    const ptrdiff_t n_last = n < n_v * HL ? n - (n_v - 1) * HL : HL;
    H g_v[MOST];
    XE_UNROLL
    for (int v = 0; v < n_v; v++) g_v[v] = XE(load_short)(g + v * HL);
    for (ptrdiff_t t = begin; t < end; t++) {
        const H x_t = XE(set1_short)(XE(value)(x, is_float, t));
        double *to_t = to + XE(at)(columns, is_64, t) * stride;
        XE_KEEP_ADDRESS(to_t);
        XE_UNROLL
        for (int v = 0; v < n_v - 1; v++) XE(add_short)(to_t + v * HL, x_t * g_v[v]);
        XE(add_n_short)(to_t + (n_v - 1) * HL, x_t * g_v[n_v - 1], n_last);
    }
}

/* One output and one row: returns sum_t x_t w_t as the sum of the lanes. A lane is a value of X if coefficients can
 * be gathered, otherwise lane 0 has the sum. */
XE_INLINE V XE(single_dot)(const int is_64, const int is_float, const void *x, const void *columns, ptrdiff_t begin,
                           ptrdiff_t end, const REAL *w)
{
    V sum = XE(set1)(0);
#if XE_GATHERS
    if (!is_64) {
        const char *x_t = (const char *)x + begin * (is_float ? sizeof(float) : sizeof(double));
        for (ptrdiff_t t = begin; t < end; t += VL, x_t += VL * (is_float ? sizeof(float) : sizeof(double)))
            sum = XE(gather_add)(sum, x_t, is_float, (const int32_t *)columns + t, end - t < VL ? end - t : VL, w);
        return sum;
    }
#endif
    REAL lanes[VL] = {0};
    for (ptrdiff_t t = begin; t < end; t++)
        lanes[0] += XE(value)(x, is_float, t) * w[XE(at)(columns, is_64, t)];
    return sum + XE(load)(lanes);
}

/* One output and one row: to_t += x_t g. */
XE_INLINE void XE(single_update)(const int is_64, const int is_float, const void *x, const void *columns,
                                 ptrdiff_t begin, ptrdiff_t end, const REAL *g, double *to)
{
    const double g0 = (double)g[0];
    for (ptrdiff_t t = begin; t < end; t++)
        to[XE(at)(columns, is_64, t)] += g0 * (is_float ? (double)((const float *)x)[t] : ((const double *)x)[t]);
}

#define EACH_STORAGE(call)                     \
    if (p->indices_are_64 && p->x_is_float) {  \
        call(1, 1)                             \
    } else if (p->indices_are_64) {            \
        call(1, 0)                             \
    } else if (p->x_is_float) {                \
        call(0, 1)                             \
    } else {                                   \
        call(0, 0)                             \
    }

/* Writes the logits of rows first..first + n to z (n, stride). If the stride is 1, the last ROWS rows are completed,
 * and repeat the last one. An ignored row is not read. */
XE_HOT void XE(sparse_logits)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n, REAL *z)
{
    const ptrdiff_t stride = XE(row_stride)(p->n_outputs);
    const REAL *w = XE(sparse_coef)(p), *b = XE(sparse_intercept)(p);
    const double *s = p->target.sample_weight;
    const void *x = p->x, *columns = p->indices; /* local copies are not reloaded after every store */
#define DOT(n_v, k) XE(sparse_dot)(n_v, is_64, is_float, x, columns, row, stop, stride, w + k, b + k, z + k)
#define ROWS_OF(is_64_, is_float_)                                                                          \
    for (ptrdiff_t r = first; r < first + n; r++, z += stride) {                                            \
        enum { is_64 = is_64_, is_float = is_float_ };                                                      \
        const ptrdiff_t row = XE(at)(p->indptr, is_64, r);                                                  \
        const ptrdiff_t stop = s && s[r] == 0.0 ? row : XE(at)(p->indptr, is_64, r + 1);                    \
        EACH_PART(stride, DOT)                                                                              \
    }
#define SINGLES_OF(is_64, is_float)                                                                         \
    for (ptrdiff_t r = 0; r < n; r += ROWS) {                                                               \
        V sums[ROWS];                                                                                       \
        for (ptrdiff_t i = 0; i < ROWS; i++) {                                                              \
            const ptrdiff_t row = first + (r + i < n ? r + i : n - 1);                                      \
            const ptrdiff_t start = XE(at)(p->indptr, is_64, row);                                          \
            const ptrdiff_t stop = s && s[row] == 0.0 ? start : XE(at)(p->indptr, is_64, row + 1);          \
            sums[i] = XE(single_dot)(is_64, is_float, x, columns, start, stop, w);                          \
        }                                                                                                   \
        XE(reduce_rows)(sums, b, z + r);                                                                           \
    }
    if (stride == 1) {
        EACH_STORAGE(SINGLES_OF)
    } else {
        EACH_STORAGE(ROWS_OF)
    }
#undef SINGLES_OF
#undef ROWS_OF
#undef DOT
}

/* Adds the gradients g (n, stride) of these rows to `to` (d, gradient_stride). */
XE_HOT void XE(sparse_gradient)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n, const REAL *g, double *to)
{
    const ptrdiff_t stride = XE(row_stride)(p->n_outputs), step = XE(gradient_stride)(p);
    const double *s = p->target.sample_weight;
    const void *x = p->x, *columns = p->indices;
#define UPDATE(n_v, k) XE(sparse_update)(n_v, is_64, is_float, x, columns, row, stop, step, step - k, g + k, to + k)
#define ROWS_OF(is_64_, is_float_)                                                               \
    for (ptrdiff_t r = first; r < first + n; r++, g += stride) {                                 \
        enum { is_64 = is_64_, is_float = is_float_ };                                           \
        const ptrdiff_t row = XE(at)(p->indptr, is_64, r), stop = XE(at)(p->indptr, is_64, r + 1); \
        if (s && s[r] == 0.0) continue;                                                          \
        if (stride == 1)                                                                         \
            XE(single_update)(is_64, is_float, x, columns, row, stop, g, to);                    \
        else                                                                                     \
            EACH_PART(stride, UPDATE)                                                            \
    }
    EACH_STORAGE(ROWS_OF)
#undef ROWS_OF
#undef UPDATE
}

/* ---- tiles: column after column of many rows ----
 *
 * If coefficients and gradient are larger than a core's own cache, successive rows find neither of them there. The
 * logits of a tile of rows do stay in the cache. The tile goes through its columns in ascending order: the
 * coefficients and their gradient are each read once a tile, as streams, and stay in registers during the loop over
 * the values of their column. The coefficients of the long columns stay in the cache too, so these columns go
 * through the rows part by part, and the logits of a part stay in a nearer cache. Most columns are short. If the
 * tables need not be streams, columns of one length follow each other, so that the processor predicts the ends of
 * the loops. */

#define COLUMNS_AHEAD 16 /* coefficients and gradients are prefetched so many columns ahead */

XE_INLINE void XE(prefetch_l1)(const char *p, const ptrdiff_t n_bytes)
{
    XE_UNROLL
    for (ptrdiff_t i = 0; i < n_bytes; i += 64) XE_PREFETCH_L1(p + i);
    XE_PREFETCH_L1(p + n_bytes - 1); /* as p may lie anywhere in its cache line */
}

/* z += x w for n_v short vectors of the outputs of a tile. w is REAL (d, stride), or with in_place doubles (d,
 * step), of which n are outputs. */
XE_INLINE void XE(tile_logits_part)(const int n_v, const int in_place, const int is_float, const int32_t *column,
                                    const int32_t *length, ptrdiff_t n_columns, const uint16_t *row, const void *x,
                                    const char *w, ptrdiff_t step, ptrdiff_t n, ptrdiff_t stride, REAL *z)
{
    const ptrdiff_t size = in_place ? step * (ptrdiff_t)sizeof(double) : stride * (ptrdiff_t)sizeof(REAL);
    const ptrdiff_t n_last = n < n_v * HL ? n - (n_v - 1) * HL : HL;
    ptrdiff_t t = 0;
    for (ptrdiff_t c = 0; c < n_columns; c++) {
        const char *w_c = w + column[c] * size;
        if (c + COLUMNS_AHEAD < n_columns)
            XE(prefetch_l1)(w + column[c + COLUMNS_AHEAD] * size,
                        n_v * HL * (ptrdiff_t)(in_place ? sizeof(double) : sizeof(REAL)));
        H w_v[MOST];
        XE_UNROLL
        for (int v = 0; v < n_v; v++)
            w_v[v] = in_place ? XE(narrow_short)((const double *)(const void *)w_c + v * HL, v < n_v - 1 ? HL : n_last)
                              : XE(load_short)((const REAL *)(const void *)w_c + v * HL);
        for (const ptrdiff_t stop = t + length[c]; t < stop; t++) {
            const H x_t = XE(set1_short)(XE(value)(x, is_float, t));
            REAL *z_t = z + row[t] * stride;
            XE_KEEP_ADDRESS(z_t);
            XE_UNROLL
            for (int v = 0; v < n_v; v++)
                XE(store_short)(z_t + v * HL, XE(load_short)(z_t + v * HL) + x_t * w_v[v]);
        }
    }
}

/* The gradient of the same: to (d, step) += x g for n outputs. From feature `fresh` on, `to` is not zeroed yet,
 * which this does up to the last of the ascending columns; -1: all of it is zeroed. */
XE_INLINE void XE(tile_gradient_part)(const int n_v, const int is_float, const int32_t *column, const int32_t *length,
                                      ptrdiff_t n_columns, const uint16_t *row, const void *x, ptrdiff_t stride,
                                      const REAL *g, ptrdiff_t step, ptrdiff_t n, ptrdiff_t fresh, double *to)
{
    enum { RUN = 256 }; /* so many products are summed in REAL, and their sum is added to doubles */
    const ptrdiff_t n_last = n < n_v * HL ? n - (n_v - 1) * HL : HL;
    ptrdiff_t t = 0;
    for (ptrdiff_t c = 0; c < n_columns; c++) {
        double *to_c = to + column[c] * step;
        if (fresh >= 0 && column[c] >= fresh) {
            memset(to + fresh * step, 0, (size_t)((column[c] + 1 - fresh) * step) * sizeof(double));
            fresh = column[c] + 1;
        } else if (c + COLUMNS_AHEAD < n_columns)
            XE(prefetch_l1)((const char *)(to + column[c + COLUMNS_AHEAD] * step),
                            n_v * HL * (ptrdiff_t)sizeof(double));
        for (const ptrdiff_t end = t + length[c]; t < end;) {
            const ptrdiff_t stop = !XE_IS_FLOAT || end - t < RUN ? end : t + RUN;
            H sum[MOST];
            XE_UNROLL
            for (int v = 0; v < n_v; v++) sum[v] = XE(set1_short)(0);
            for (; t < stop; t++) {
                const H x_t = XE(set1_short)(XE(value)(x, is_float, t));
                const REAL *g_t = g + row[t] * stride;
                XE_KEEP_ADDRESS(g_t);
                XE_UNROLL
                for (int v = 0; v < n_v; v++) sum[v] += x_t * XE(load_short)(g_t + v * HL);
            }
            XE_UNROLL
            for (int v = 0; v < n_v - 1; v++) XE(add_short)(to_c + v * HL, sum[v]);
            XE(add_n_short)(to_c + (n_v - 1) * HL, sum[n_v - 1], n_last);
        }
    }
}

/* The same for one output. */
XE_INLINE void XE(tile_single_logits)(const int in_place, const int is_float, const int32_t *column,
                                      const int32_t *length, ptrdiff_t n_columns, const uint16_t *row, const void *x,
                                      const void *w, REAL *z)
{
    for (ptrdiff_t c = 0, t = 0; c < n_columns; c++) {
        const REAL w_c = in_place ? (REAL)((const double *)w)[column[c]] : ((const REAL *)w)[column[c]];
        if (c + 2 * COLUMNS_AHEAD < n_columns)
            XE_PREFETCH_L1((const char *)w + column[c + 2 * COLUMNS_AHEAD] *
                                                 (ptrdiff_t)(in_place ? sizeof(double) : sizeof(REAL)));
        for (const ptrdiff_t stop = t + length[c]; t < stop; t++) z[row[t]] += XE(value)(x, is_float, t) * w_c;
    }
}

XE_INLINE void XE(tile_single_gradient)(const int is_float, const int32_t *column, const int32_t *length,
                                        ptrdiff_t n_columns, const uint16_t *row, const void *x, const REAL *g,
                                        double *to)
{
    for (ptrdiff_t c = 0, t = 0; c < n_columns; c++) {
        const ptrdiff_t stop = t + length[c];
        if (c + 2 * COLUMNS_AHEAD < n_columns) XE_PREFETCH_L1(to + column[c + 2 * COLUMNS_AHEAD]);
        double part[4] = {0};
        for (; t + 4 <= stop; t += 4)
            XE_UNROLL
            for (int i = 0; i < 4; i++) part[i] += (double)(XE(value)(x, is_float, t + i) * g[row[t + i]]);
        for (; t < stop; t++) part[0] += (double)(XE(value)(x, is_float, t) * g[row[t]]);
        to[column[c]] += (part[0] + part[1]) + (part[2] + part[3]);
    }
}

#define TILE_ARGUMENTS(tiles, i, size)                                                                    \
    tiles->column + tiles->first_column[i], tiles->length + tiles->first_column[i],                       \
        tiles->first_column[i + 1] - tiles->first_column[i], tiles->row + tiles->first_value[i],          \
        (const char *)tiles->x + tiles->first_value[i] * size

XE_HOT void XE(tile_logits)(const xe_linear *p, ptrdiff_t tile, REAL *z)
{
    const xe_tiles *tiles = &p->tiles;
    const ptrdiff_t stride = XE(row_stride)(p->n_outputs), n = tiles->first_row[tile + 1] - tiles->first_row[tile];
    const ptrdiff_t R = p->n_outputs;
    const REAL *b = XE(sparse_intercept)(p);
    const void *w = XE(sparse_coef)(p);
    for (ptrdiff_t r = 0; r < n; r++)
        for (ptrdiff_t k = 0; k < stride; k++) z[r * stride + k] = b[k];
#define PART(n_v, k, in_place, is_float)                                                                        \
    XE(tile_logits_part)(n_v, in_place, is_float, TILE_ARGUMENTS(tiles, tile, (is_float ? 4 : 8)),               \
                         (const char *)w + k * (in_place ? sizeof(double) : sizeof(REAL)), R, R - k, stride, z + k)
#define CALL(is_float, in_place)                                                                                \
    if (stride == 1)                                                                                            \
        XE(tile_single_logits)(in_place, is_float, TILE_ARGUMENTS(tiles, tile, (is_float ? 4 : 8)), w, z);      \
    else                                                                                                        \
        EACH_PART(stride, PART_##is_float##in_place)
#define PART_00(n_v, k) PART(n_v, k, 0, 0)
#define PART_01(n_v, k) PART(n_v, k, 1, 0)
#define PART_10(n_v, k) PART(n_v, k, 0, 1)
#define PART_11(n_v, k) PART(n_v, k, 1, 1)
    if (p->in_place && p->x_is_float) {
        CALL(1, 1)
    } else if (p->in_place) {
        CALL(0, 1)
    } else if (p->x_is_float) {
        CALL(1, 0)
    } else {
        CALL(0, 0)
    }
#undef PART_00
#undef PART_01
#undef PART_10
#undef PART_11
#undef CALL
#undef PART
}

XE_HOT void XE(tile_gradient)(const xe_linear *p, ptrdiff_t tile, const REAL *g, double *to)
{
    const xe_tiles *tiles = &p->tiles;
    const ptrdiff_t stride = XE(row_stride)(p->n_outputs), step = XE(gradient_stride)(p);
    const int fresh = tile == 0 && XE(zeroes_on_the_way)(p);
    if (fresh) {
        const int32_t *column = tiles->column + tiles->first_column[0];
        const ptrdiff_t n_columns = tiles->first_column[1] - tiles->first_column[0];
        ptrdiff_t rest = 0; /* the feature after the ascending columns */
        for (ptrdiff_t c = 0; c < n_columns && column[c] >= rest; c++) rest = column[c] + 1;
        memset(to + rest * step, 0, (size_t)((p->n_features - rest) * step) * sizeof(double));
    }
#define PART(n_v, k, is_float, size)                                                                            \
    XE(tile_gradient_part)(n_v, is_float, TILE_ARGUMENTS(tiles, tile, size), stride, g + k, step, step - k,      \
                           fresh && k == 0 ? 0 : -1, to + k)
#define FLOATS(n_v, k) PART(n_v, k, 1, 4)
#define DOUBLES(n_v, k) PART(n_v, k, 0, 8)
    if (stride == 1 && p->x_is_float)
        XE(tile_single_gradient)(1, TILE_ARGUMENTS(tiles, tile, 4), g, to);
    else if (stride == 1)
        XE(tile_single_gradient)(0, TILE_ARGUMENTS(tiles, tile, 8), g, to);
    else if (p->x_is_float)
        EACH_PART(stride, FLOATS)
    else
        EACH_PART(stride, DOUBLES)
#undef FLOATS
#undef DOUBLES
#undef PART
}
#undef TILE_ARGUMENTS

/* ---- the pass ---- */

/* Adds the sum of g (n, stride) over the rows to grad_b (stride). */
static void XE(add_rows)(ptrdiff_t n, ptrdiff_t stride, const REAL *g, double *grad_b)
{
    if (stride == 1) {
        XE(intercept_gradient)(1, n, g, n, grad_b);
        return;
    }
    for (ptrdiff_t k = 0; k < stride; k += HL) {
        H sum = XE(set1_short)(0);
        for (ptrdiff_t r = 0; r < n; r++) sum += XE(load_short)(g + r * stride + k);
        XE(add_short)(grad_b + k, sum);
    }
}

/* Returns the sum of the losses of rows first..first + n, turns their logits z (n, stride) into their gradients, and
 * adds the sum of these to grad_b (stride). Losses of labels are added to label_loss (R) instead. */
static double XE(sparse_losses)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n_rows, void *scratch, REAL *z,
                                double *grad_b, double *label_loss)
{
    enum { N = LOGIT_ROWS };
    const ptrdiff_t R = p->n_outputs, stride = XE(row_stride)(R);
    const int sigmoid = R < p->target.n_classes;
    XE(block) b;
    REAL *rows = (REAL *)XE(init_block)(scratch, N, &b), *e = rows + N * XE(padded)(R);
    REAL *targets = e + N * XE(padded)(R);
    XE(flush_denormals)(&b);
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n_rows; done += N, z += N * stride) {
        const ptrdiff_t n = n_rows - done < N ? n_rows - done : N, i = first + done;
        if (p->indicator.y) {
            XE(label_rows)(p, i, n, z, e, stride, label_loss, &b);
            memcpy(z, e, (size_t)(n * stride) * sizeof(REAL));
        } else if (sigmoid) {
            sum += XE(sigmoid_rows)(&p->target, i, n, z, e, XE(losses_of)(p, i));
            XE(flush_tiny)(e, n, &b);
            memcpy(z, e, (size_t)n * sizeof(REAL));
        } else if (p->target.loss.kind != xe_kind_cross_entropy) {
            for (ptrdiff_t r = 0; r < n; r++) memcpy(rows + r * R, z + r * stride, (size_t)R * sizeof(REAL));
            sum += XE(phi_softmax_rows)(&p->target, i, n, rows, e, XE(losses_of)(p, i));
            for (ptrdiff_t r = 0; r < n; r++) memcpy(z + r * stride, e + r * R, (size_t)R * sizeof(REAL));
        } else if (R > 1 && R <= FEW_CLASSES) {
            XE(rows_to_columns)(z, n, stride, R, NULL, rows, N);
            sum += XE(column_losses)(&p->target, i, n, rows, e, targets, N, 1, &b);
            memset(e + R * N, 0, (size_t)((stride - R) * N) * sizeof(REAL));
            XE(columns_to_rows)(e, N, n, stride, stride, z);
            XE(keep_losses)(p, i, n, &b);
        } else {
            for (ptrdiff_t r = 0; r < n; r++) memcpy(rows + r * R, z + r * stride, (size_t)R * sizeof(REAL));
            sum += XE(row_losses)(&p->target, i, n, rows, R, R, z, stride, VL, &b);
            XE(keep_losses)(p, i, n, &b);
        }
        XE(add_rows)(n, stride, z, grad_b);
    }
    return sum;
}

static double XE(sparse_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *partial)
{
    const ptrdiff_t R = p->n_outputs, stride = XE(row_stride)(R);
    double *grad = p->in_place ? p->grad_coef : partial, *label_loss = partial + XE(sparse_partial)(p);
    double *grad_b = label_loss - stride;
    if (p->in_place && !XE(zeroes_on_the_way)(p)) memset(grad, 0, (size_t)(p->n_features * R) * sizeof(double));
    REAL *z = (REAL *)(void *)((char *)scratch + BLOCK_BYTES(LOGIT_ROWS)) + 3 * LOGIT_ROWS * XE(padded)(R);
    double sum = 0.0;
    for (ptrdiff_t i = 0; i < p->tiles.n_tiles; i++) {
        const ptrdiff_t first = p->tiles.first_row[i], n = p->tiles.first_row[i + 1] - first;
        if (first < begin || first >= end) continue;
        XE(tile_logits)(p, i, z);
        sum += XE(sparse_losses)(p, first, n, scratch, z, grad_b, label_loss);
        XE(tile_gradient)(p, i, z, grad);
    }
    if (p->tiles.n_tiles) return sum;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows;
        XE(sparse_logits)(p, first, n, z);
        sum += XE(sparse_losses)(p, first, n, scratch, z, grad_b, label_loss);
        XE(sparse_gradient)(p, first, n, z, grad);
    }
    return sum;
}

#endif
