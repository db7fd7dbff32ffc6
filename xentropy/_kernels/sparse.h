/* The fused pass over CSR X. A template: REAL is float or double.
 *
 * A stored value meets the R coefficients of its feature, which are adjacent: a lane is an output. Coefficients and the
 * gradient are (d, stride), stride being R up to whole vectors (to a power of two below half a vector).
 */

static inline ptrdiff_t XE(row_stride)(ptrdiff_t n_outputs, ptrdiff_t lanes)
{
    ptrdiff_t stride = 1;
    if (n_outputs > lanes / 2) return (n_outputs + lanes - 1) / lanes * lanes;
    while (stride < n_outputs) stride *= 2;
    return stride;
}

static size_t XE(sparse_packed)(const xe_linear *p)
{
    const ptrdiff_t stride = XE(row_stride)(p->n_outputs, VL);
    return (size_t)((p->n_features + 1) * stride + 2 * VL) * sizeof(REAL);
}

static void XE(sparse_pack)(const xe_linear *p, const double *coef, const double *intercept, ptrdiff_t begin,
                            ptrdiff_t end, REAL *to)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs, stride = XE(row_stride)(R, VL);
    for (ptrdiff_t j = begin; j < end; j++)
        for (ptrdiff_t k = 0; k < stride; k++) to[j * stride + k] = k < R ? (REAL)coef[j * R + k] : 0;
    if (end < d) return;
    /* loads of a narrow last row end in zeros; a padding class has b = -inf: its exp and its gradient are 0 */
    to += d * stride;
    for (ptrdiff_t k = 0; k < VL; k++) *to++ = 0;
    for (ptrdiff_t k = 0; k < stride + VL; k++) to[k] = k < R ? (REAL)intercept[k] : -(REAL)INFINITY;
}

static ptrdiff_t XE(sparse_partial)(const xe_linear *p)
{
    return (p->n_features + 1) * XE(row_stride)(p->n_outputs, VLD) + VLD;
}

static size_t XE(sparse_scratch)(const xe_linear *p)
{
    const ptrdiff_t rows = XE(block_stride)(p);
    return (size_t)(BLOCK_BYTES(rows) + 4 * rows * (XE(padded)(p->n_outputs) + VL) * (ptrdiff_t)sizeof(REAL));
}

XE_INLINE ptrdiff_t XE(at)(const void *index, const int is_64, ptrdiff_t t)
{
    return is_64 ? (ptrdiff_t)((const int64_t *)index)[t] : (ptrdiff_t)((const int32_t *)index)[t];
}

XE_INLINE REAL XE(value)(const void *x, const int is_float, ptrdiff_t t)
{
    return is_float ? (REAL)((const float *)x)[t] : (REAL)((const double *)x)[t];
}

/* One row, n_v vectors of outputs (0: one output): z = b + sum_t x_t w_t, in two sums to halve the chain of additions.
 * Columns may repeat. */
XE_INLINE void XE(sparse_dot)(const int n_v, const int is_64, const int is_float, const void *x, const void *columns,
                              ptrdiff_t begin, ptrdiff_t end, ptrdiff_t stride, const REAL *w, const REAL *b, REAL *z)
{
    if (n_v == 0) {
        REAL part[4] = {b[0]};
        ptrdiff_t t = begin;
        for (; t + 4 <= end; t += 4)
            XE_UNROLL
            for (int i = 0; i < 4; i++) part[i] += XE(value)(x, is_float, t + i) * w[XE(at)(columns, is_64, t + i)];
        for (; t < end; t++) part[0] += XE(value)(x, is_float, t) * w[XE(at)(columns, is_64, t)];
        z[0] = (part[0] + part[1]) + (part[2] + part[3]);
        return;
    }
    V even[4], odd[4];
    XE_UNROLL
    for (int v = 0; v < n_v; v++) even[v] = XE(load)(b + v * VL), odd[v] = XE(all)(0);
    ptrdiff_t t = begin;
    for (; t + 2 <= end; t += 2) {
        const V x0 = XE(all)(XE(value)(x, is_float, t)), x1 = XE(all)(XE(value)(x, is_float, t + 1));
        const REAL *w0 = w + XE(at)(columns, is_64, t) * stride, *w1 = w + XE(at)(columns, is_64, t + 1) * stride;
        XE_UNROLL
        for (int v = 0; v < n_v; v++) even[v] += x0 * XE(load)(w0 + v * VL), odd[v] += x1 * XE(load)(w1 + v * VL);
    }
    if (t < end) {
        const V x0 = XE(all)(XE(value)(x, is_float, t));
        const REAL *w0 = w + XE(at)(columns, is_64, t) * stride;
        XE_UNROLL
        for (int v = 0; v < n_v; v++) even[v] += x0 * XE(load)(w0 + v * VL);
    }
    XE_UNROLL
    for (int v = 0; v < n_v; v++) XE(store)(z + v * VL, even[v] + odd[v]);
}

/* One row, n_v vectors of doubles: to_t += x_t g. Below a whole vector, narrow > 0 is the number of lanes to write. */
XE_INLINE void XE(sparse_update)(const int n_v, const int is_64, const int is_float, const void *x,
                                 const void *columns, ptrdiff_t begin, ptrdiff_t end,
                                 ptrdiff_t stride, ptrdiff_t narrow, const REAL *g, double *to)
{
    if (n_v == 0) {
        const double g0 = (double)g[0];
        for (ptrdiff_t t = begin; t < end; t++)
            to[XE(at)(columns, is_64, t)] += g0 * (is_float ? (double)((const float *)x)[t] : ((const double *)x)[t]);
        return;
    }
    VD g_v[4];
    XE_UNROLL
    for (int v = 0; v < n_v; v++) g_v[v] = XE(widen)(g + v * VLD);
    for (ptrdiff_t t = begin; t < end; t++) {
        const VD x_t = XE_DOUBLE(all)(is_float ? (double)((const float *)x)[t] : ((const double *)x)[t]);
        double *to_t = to + XE(at)(columns, is_64, t) * stride;
        XE_UNROLL
        for (int v = 0; v < n_v; v++) {
            const VD updated = XE_DOUBLE(load)(to_t + v * VLD) + x_t * g_v[v];
            if (narrow)
                XE_DOUBLE(store_some)(to_t, updated, narrow);
            else
                XE_DOUBLE(store)(to_t + v * VLD, updated);
        }
    }
}

/* Any number of outputs, four vectors at a time; n_v is a constant where it can be. */
XE_INLINE void XE(sparse_row)(const int is_64, const int is_float, const int forward, const xe_linear *p,
                              ptrdiff_t begin, ptrdiff_t end, const REAL *w, const REAL *b, REAL *z, const REAL *g,
                              double *to)
{
    const ptrdiff_t lanes = forward ? VL : VLD, R = p->n_outputs, stride = XE(row_stride)(R, lanes);
    const void *x = p->x, *columns = p->indices; /* not reloaded after every store */
#define ROW(n_v, narrow)                                                                                        \
    if (forward)                                                                                                \
        XE(sparse_dot)(n_v, is_64, is_float, x, columns, begin, end, stride, w + k, b + k, z + k);              \
    else                                                                                                        \
        XE(sparse_update)(n_v, is_64, is_float, x, columns, begin, end, stride, narrow, g + k, to + k)
    ptrdiff_t k = 0;
    if (R == 1) {
        ROW(0, 0);
    } else if (stride < lanes) {
        ROW(1, R);
    } else {
        for (; k + 4 * lanes <= stride; k += 4 * lanes) ROW(4, 0);
        const ptrdiff_t left = (stride - k) / lanes;
        if (left == 3) {
            ROW(3, 0);
        } else if (left == 2) {
            ROW(2, 0);
        } else if (left == 1) {
            ROW(1, 0);
        }
    }
#undef ROW
}

#define SPARSE_ROWS(is_64, is_float)                                                                               \
    for (ptrdiff_t r = 0; r < n; r++) {                                                                            \
        const int ignored = s && s[first + r] == 0.0;                                                              \
        if (ignored && !forward) continue;                                                                         \
        const ptrdiff_t row = XE(at)(p->indptr, is_64, first + r);                                                 \
        const ptrdiff_t stop = ignored ? row : XE(at)(p->indptr, is_64, first + r + 1);                            \
        if (forward)                                                                                               \
            XE(sparse_row)(is_64, is_float, 1, p, row, stop, w, b, z + r * z_stride, NULL, NULL);                  \
        else                                                                                                       \
            XE(sparse_row)(is_64, is_float, 0, p, row, stop, NULL, NULL, NULL, z + r * z_stride, to);              \
    }

/* Rows first..first + n: their logits into z (forward), or their gradients z into to. An ignored row is not read. */
XE_HOT void XE(sparse_block)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n, const int forward, REAL *z,
                             ptrdiff_t z_stride, double *to)
{
    const REAL *w = p->packed, *b = w + p->n_features * XE(row_stride)(p->n_outputs, VL) + VL;
    const double *s = p->target.sample_weight;
    if (p->indices_are_64 && p->x_is_float) {
        SPARSE_ROWS(1, 1)
    } else if (p->indices_are_64) {
        SPARSE_ROWS(1, 0)
    } else if (p->x_is_float) {
        SPARSE_ROWS(0, 1)
    } else {
        SPARSE_ROWS(0, 0)
    }
}
#undef SPARSE_ROWS

static double XE(sparse_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    const ptrdiff_t R = p->n_outputs, rows = XE(block_stride)(p);
    const int sigmoid = R < p->target.n_classes, plain = XE(is_plain)(&p->target);
    const ptrdiff_t z_stride = R == 1 ? 1 : XE(padded)(R);
    double *grad_b = grad + p->n_features * XE(row_stride)(R, VLD);
    XE(block) b;
    REAL *z = (REAL *)XE(carve)(scratch, rows, &b), *g = z + rows * z_stride + VL;
    REAL *z_rows = g + rows * z_stride + VL, *g_rows = z_rows + rows * R;
    XE(no_denormals)(&b);
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows, padded = XE(padded)(n);
        XE(sparse_block)(p, first, n, 1, z, z_stride, NULL);
        if (sigmoid) {
            sum += XE(sigmoid_rows)(&p->target, first, n, z, g, XE(losses_of)(p, first));
            XE(drop_tiny)(g, n, &b);
        } else if (plain && R > 1) {
            const int32_t *y = p->target.labels + first;
            XE(bind_rows)(&p->target, first, n, padded, &b);
            for (ptrdiff_t r = 0; r < n; r++)
                XE(begin_row)(z + r * z_stride, z_stride, g + r * z_stride, VL, y[r], r, &b);
            for (ptrdiff_t r = n; r < padded; r++) b.rest[r] = b.gap[r] = 0.0;
            sum += XE(finish_rows)(padded, &b);
            for (ptrdiff_t r = 0; r < n; r++) XE(scale_row)(z_stride, g + r * z_stride, VL, y[r], r, &b);
            XE(keep_losses)(p, first, n, &b);
        } else {
            for (ptrdiff_t r = 0; r < n; r++) memcpy(z_rows + r * R, z + r * z_stride, (size_t)R * sizeof(REAL));
            sum += XE(xe_softmax_rows)(&p->target, first, n, z_rows, g_rows, XE(losses_of)(p, first));
            for (ptrdiff_t r = 0; r < n; r++) {
                memcpy(g + r * z_stride, g_rows + r * R, (size_t)R * sizeof(REAL));
                for (ptrdiff_t k = R; k < z_stride; k++) g[r * z_stride + k] = 0;
            }
        }
        XE(sparse_block)(p, first, n, 0, g, z_stride, grad);
        for (ptrdiff_t r = 0; r < n; r++)
            for (ptrdiff_t k = 0; k < R; k++) grad_b[k] += (double)g[r * z_stride + k];
    }
    return sum;
}
