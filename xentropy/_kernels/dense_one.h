/* Dense X and one output. The time is that of the memory, which is read at an even pace, in one stream of rows.
 * While the logits of a block of rows are computed, the gradient of the block before is, and the next rows are
 * prefetched. (Two passes over a block prefetch faster than the memory answers, and beyond some 64 cache lines
 * prefetches are lost: 1e6 rows of 50 numbers took half as long again.)
 *
 * Features are cut into tiles of n_v short vectors, the same for both blocks. A tile of the gradient stays in
 * registers during the loop over the rows of its block, and each step also takes a tile of the stream. The vectors
 * are short because half of the longer ones would lie in two cache lines.
 */
#ifndef XENTROPY_DENSE_ONE_H
#define XENTROPY_DENSE_ONE_H

#include "dense_few.h"

/* A tile has no more: more would spill with 16 registers, and were no faster with 32. */
#define MOST_VECTORS 10
#define EACH_WIDTH(call) call(1) call(2) call(3) call(4) call(5) call(6) call(7) call(8) call(9) call(10)
/* X is prefetched so many bytes ahead if the gradient is computed too: half as many and twice as many do as well. If
 * logits alone are computed, they are read faster than the memory answers, and prefetches further ahead than
 * STREAM_NEAR are lost. */
#define STREAM_AHEAD (1 << 15)
#define STREAM_NEAR (1 << 10)

typedef struct {
    const xe_linear *p;
    ptrdiff_t n_rows; /* in either block, a multiple of ROWS */
    ptrdiff_t first;  /* the first row of the block whose logits are computed */
    XE(rows) x, before;
    REAL *copy; /* the copy of x, if that is not read in place */
    const REAL *g;
    REAL *z;
    double *to;
} XE(two_blocks);

/* Loads a vector of a tile, of which `left` lanes exist unless it is whole. */
XE_INLINE H XE(vector_at)(const int whole, const REAL *p, ptrdiff_t left)
{
    return whole ? XE(load_short)(p) : XE(load_n_short)(p, left);
}

/* Returns x w of a tile; its lanes have this sum. */
XE_INLINE V XE(tile_dot)(const int n_v, const int n_whole, const REAL *x, const H *w, ptrdiff_t left)
{
    H even = XE(set1_short)(0), odd = even;
    XE_UNROLL
    for (int v = 0; v < n_v; v++) {
        const H x_v = XE(vector_at)(v < n_whole, x + v * HL, left);
        if (v % 2)
            odd += x_v * w[v];
        else
            even += x_v * w[v];
    }
    return XE(join)(even, odd);
}

/* Adds g x of a tile to sum. */
XE_INLINE void XE(tile_sum)(const int n_v, const int n_whole, const REAL *x, REAL g, ptrdiff_t left, H *sum)
{
    XE_UNROLL
    for (int v = 0; v < n_v; v++) sum[v] += XE(set1_short)(g) * XE(vector_at)(v < n_whole, x + v * HL, left);
}

/* Computes z, for n_rows rows and up to the end of the last vector, which repeats the last row. */
XE_HOT void XE(one_logits)(const xe_linear *p, ptrdiff_t first, XE(rows) x, ptrdiff_t n_rows, REAL *copy, REAL *z)
{
    const ptrdiff_t n = x.n_features, whole = n / HL * HL;
    const REAL *w = p->packed, *intercept = w + XE(n_packed)(p);
    for (ptrdiff_t r = 0; r < n_rows || r % VL; r += ROWS) {
        V z_r[ROWS];
        if (x.x == copy && r < n_rows)
            XE(copy_rows)(p, first, r, r + ROWS < n_rows ? r + ROWS : n_rows, 0, x.n_features, copy);
        for (ptrdiff_t i = 0; i < ROWS; i++) {
            const REAL *x_i = x.x + (r + i < n_rows ? r + i : n_rows - 1) * x.stride;
            H even = XE(set1_short)(0), odd = even;
            ptrdiff_t j = 0;
            for (; j + 2 * HL <= n; j += 2 * HL) {
                XE_PREFETCH((const char *)(x_i + j) + STREAM_NEAR);
                even += XE(load_short)(x_i + j) * XE(load_short)(w + j);
                odd += XE(load_short)(x_i + j + HL) * XE(load_short)(w + j + HL);
            }
            if (j < whole) even += XE(load_short)(x_i + j) * XE(load_short)(w + j);
            if (whole < n)
                odd += XE(load_n_short)(x_i + whole, n - whole) * XE(load_n_short)(w + whole, n - whole);
            z_r[i] = XE(join)(even, odd);
        }
        XE(reduce_rows)(z_r, intercept, z + r);
    }
}

/* If single, all features are in one tile, of whose last vector some may be missing. Otherwise the last tile starts
 * `width` before the end, and leaves out the features that the one before has too. */
XE_INLINE void XE(one_stream)(const int n_v, const int single, const XE(two_blocks) * b)
{
    const ptrdiff_t d = XE_MASKED_LOADS ? b->p->n_features : XE(padded)(b->p->n_features); /* read in a row */
    const ptrdiff_t width = n_v * HL, n_tiles = single ? 1 : (d + width - 1) / width;
    const ptrdiff_t counted = single ? 0 : n_tiles * width - d, left = d - (n_v - 1) * HL;
    const int is_copied = b->x.x == b->copy, n_whole = single ? n_v - 1 : n_v;
    const int n_lines = (n_v * (int)sizeof(H) + 63) / 64;
    const REAL *x = b->x.x, *w = b->p->packed, *intercept = w + XE(n_packed)(b->p);
    ptrdiff_t row = 0, tile = 0; /* where the stream is */
    V z[ROWS], z_row = XE(set1)(0);
    H last_w[MOST_VECTORS];
    XE_UNROLL
    for (int v = 0; v < n_v; v++) last_w[v] = XE(vector_at)(v < n_whole, w + (single ? 0 : d - width) + v * HL, left);
    if (!single) {
        REAL lanes[MOST_VECTORS * HL];
        for (int v = 0; v < n_v; v++) XE(store_short)(lanes + v * HL, last_w[v]);
        memset(lanes, 0, (size_t)counted * sizeof(REAL));
        for (int v = 0; v < n_v; v++) last_w[v] = XE(load_short)(lanes + v * HL);
    }
    for (ptrdiff_t t = 0; t < n_tiles; t++) {
        const ptrdiff_t from = !single && t == n_tiles - 1 ? d - width : t * width;
        const REAL *before = b->before.x + from;
        H sum[MOST_VECTORS];
        XE_UNROLL
        for (int v = 0; v < n_v; v++) sum[v] = XE(set1_short)(0);
        for (ptrdiff_t r = 0; r < b->n_rows; r++, before += b->before.stride) {
            const int last = single || tile == n_tiles - 1;
            const ptrdiff_t at = single ? 0 : last ? d - width : tile * width;
            if (!is_copied) {
                XE(prefetch)((const char *)(x + at) + STREAM_AHEAD, n_lines);
            } else if (tile == 0 && row % ROWS == 0) {
                XE(copy_rows)(b->p, b->first, row, row + ROWS, 0, b->x.n_features, b->copy);
            }
            if (last) {
                z_row += XE(tile_dot)(n_v, n_whole, x + at, last_w, left);
            } else {
                H tile_w[MOST_VECTORS];
                XE_UNROLL
                for (int v = 0; v < n_v; v++) tile_w[v] = XE(load_short)(w + at + v * HL);
                z_row += XE(tile_dot)(n_v, n_v, x + at, tile_w, left);
            }
            XE(tile_sum)(n_v, n_whole, before, b->g[r], left, sum);
            tile++;
            if (!last) continue;
            z[row % ROWS] = z_row;
            z_row = XE(set1)(0), tile = 0, row++, x += b->x.stride;
            if (row % ROWS == 0) XE(reduce_rows)(z, intercept, b->z + row - ROWS);
        }
        if (counted && t == n_tiles - 1) {
            REAL lanes[MOST_VECTORS * HL];
            for (int v = 0; v < n_v; v++) XE(store_short)(lanes + v * HL, sum[v]);
            for (ptrdiff_t i = counted; i < width; i++) b->to[from + i] += (double)lanes[i];
        } else {
            XE_UNROLL
            for (int v = 0; v < n_v; v++) XE(add_short)(b->to + from + v * HL, sum[v]);
        }
    }
}

/* There is at least one feature. */
XE_HOT void XE(stream_two_blocks)(const XE(two_blocks) * b)
{
    const ptrdiff_t n_vectors = (b->p->n_features + HL - 1) / HL;
    const ptrdiff_t n_tiles = (n_vectors + MOST_VECTORS - 1) / MOST_VECTORS;
    switch ((n_vectors + n_tiles - 1) / n_tiles) {
#define CALL(n)                                \
    case n:                                    \
        if (n_tiles == 1)                      \
            XE(one_stream)(n, 1, b);           \
        else if (n > MOST_VECTORS / 2)         \
            XE(one_stream)(n, 0, b);           \
        break;
        EACH_WIDTH(CALL)
#undef CALL
    }
}

static double XE(one_output_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    const ptrdiff_t stride = XE(block_stride)(p), d = XE(padded)(p->n_features);
    XE(block) block;
    REAL *z = (REAL *)XE(init_block)(scratch, stride, &block), *g = z + stride, *copy = g + stride;
    REAL *other = copy + stride * d, *z_rows = other + stride * d, *g_rows = z_rows + stride;
    XE(flush_denormals)(&block);
    XE(rows) before = {0};
    ptrdiff_t n_before = 0;
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += n_before) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows;
        const XE(rows) x = XE(dense_block)(p, first, n, copy);
        if (n == n_before && n % ROWS == 0 && p->n_features) {
            const XE(two_blocks) b = {p, n, first, x, before, copy, g, z, grad};
            XE(stream_two_blocks)(&b);
        } else {
            if (n_before) XE(few_gradient)(p, before, n_before, g, stride, grad);
            XE(one_logits)(p, first, x, n, copy, z);
        }
        sum += XE(column_gradient)(p, first, n, z, g, z_rows, g_rows, stride, grad + XE(dense_partial)(p), &block);
        XE(intercept_gradient)(1, n, g, stride, grad + d);
        if (p->grad_x) XE(few_input_gradient)(p, first, n, g, stride);
        before = x, n_before = n;
        REAL *swapped = copy;
        copy = other, other = swapped;
    }
    if (n_before) XE(few_gradient)(p, before, n_before, g, stride, grad);
    return sum;
}

#endif
