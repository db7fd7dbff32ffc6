/* The fused pass of a linear model: a block of rows -> its logits -> their losses -> its share of the gradient, while
 * the block is in cache. A template: REAL is float or double, XE(name) adds the suffix.
 *
 *     Z = X W^T + b,   G = dL/dZ,   grad_W = G^T X,   grad_b = sum_i g_i
 *
 * Logits exist for one block of rows at a time, never for all of them.
 */

#define GRAD_BLOCK_OF_ROWS(p) ((p)->block_rows * (p)->n_outputs)

/* Scratch of a thread: logits (B, R); their gradient (B, R); rows of X in REAL (B, d); the block's gradient (R, d). */
static size_t XE(linear_scratch)(const xe_linear *p)
{
    const ptrdiff_t dense = p->indptr ? 0 : (p->block_rows + p->n_outputs) * p->n_features;
    return (size_t)(2 * GRAD_BLOCK_OF_ROWS(p) + dense) * sizeof(REAL);
}

static double XE(rows_of)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n_rows, const REAL *z, REAL *g)
{
    double *row_loss = p->row_loss ? p->row_loss + first : NULL;
    return p->n_outputs == 1 && p->target.n_classes == 2
               ? XE(xe_sigmoid_rows)(&p->target, first, n_rows, z, g, row_loss)
               : XE(xe_softmax_rows)(&p->target, first, n_rows, z, g, row_loss);
}

/* Rows of dense X as REAL. They are used in place, unless they are stored in another type, or shifted, or one of them
 * is ignored: it may hold NaN, and 0 * NaN would reach the gradient, so it is read as zeros. */
static const REAL *XE(dense_block)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n_rows, REAL *scratch)
{
    const ptrdiff_t d = p->n_features;
    const double *s = p->target.sample_weight;
    const int same_type = p->x_is_float == (sizeof(REAL) == sizeof(float));
    int ignored = 0;
    for (ptrdiff_t r = 0; s && r < n_rows; r++) ignored |= s[first + r] == 0.0;
    if (same_type && !ignored && !p->shift) return (const REAL *)p->x + first * d;
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        REAL *to = scratch + r * d;
        if (s && s[first + r] == 0.0) {
            memset(to, 0, (size_t)d * sizeof(REAL));
        } else if (p->x_is_float) {
            const float *from = (const float *)p->x + (first + r) * d;
            for (ptrdiff_t j = 0; j < d; j++) to[j] = (REAL)(from[j] - (p->shift ? p->shift[j] : 0.0));
        } else {
            const double *from = (const double *)p->x + (first + r) * d;
            for (ptrdiff_t j = 0; j < d; j++) to[j] = (REAL)(from[j] - (p->shift ? p->shift[j] : 0.0));
        }
    }
    return scratch;
}

/* z (R) = b + sum_j x_j coef_j. One output is a dot product, in LANES partial sums so that it can be vectorised. */
static void XE(dense_logits)(const REAL *x, ptrdiff_t d, ptrdiff_t n_outputs, const REAL *coef, const REAL *intercept,
                             REAL *z)
{
    if (n_outputs == 1) {
        enum { LANES = 16 };
        REAL part[LANES] = {0}, sum = intercept[0];
        ptrdiff_t j = 0;
        for (; j + LANES <= d; j += LANES)
            for (int l = 0; l < LANES; l++) part[l] += x[j + l] * coef[j + l];
        for (; j < d; j++) sum += x[j] * coef[j];
        for (int l = 0; l < LANES; l++) sum += part[l];
        z[0] = sum;
        return;
    }
    for (ptrdiff_t k = 0; k < n_outputs; k++) z[k] = intercept[k];
    for (ptrdiff_t j = 0; j < d; j++) {
        const REAL xj = x[j], *w = coef + j * n_outputs;
        for (ptrdiff_t k = 0; k < n_outputs; k++) z[k] += xj * w[k];
    }
}

/* grad_X (n_rows, d) = G W */
static void XE(input_gradient)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n_rows, const REAL *g)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs;
    REAL *to = (REAL *)p->grad_x + first * d;
    for (ptrdiff_t r = 0; r < n_rows; r++, g += R, to += d)
        for (ptrdiff_t j = 0; j < d; j++) {
            const REAL *w = (const REAL *)p->coef + j * R;
            REAL sum = 0;
            for (ptrdiff_t k = 0; k < R; k++) sum += g[k] * w[k];
            to[j] = sum;
        }
}

static double XE(dense_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, REAL *scratch, double *grad)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs;
    REAL *z = scratch, *g = z + GRAD_BLOCK_OF_ROWS(p), *rows = g + GRAD_BLOCK_OF_ROWS(p);
    REAL *block_grad = rows + p->block_rows * d; /* (R, d) in REAL: short sums, then added to doubles */
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows;
        const REAL *x = XE(dense_block)(p, first, n, rows);
        for (ptrdiff_t r = 0; r < n; r++) XE(dense_logits)(x + r * d, d, R, p->coef, p->intercept, z + r * R);
        sum += XE(rows_of)(p, first, n, z, g);
        if (p->grad_x) XE(input_gradient)(p, first, n, g);
        for (ptrdiff_t k = 0; k < R; k++) {
            REAL *to = block_grad + k * d;
            memset(to, 0, (size_t)d * sizeof(REAL));
            for (ptrdiff_t r = 0; r < n; r++) {
                const REAL gk = g[r * R + k], *xr = x + r * d;
                for (ptrdiff_t j = 0; j < d; j++) to[j] += gk * xr[j];
                grad[R * d + k] += gk;
            }
            for (ptrdiff_t j = 0; j < d; j++) grad[k * d + j] += (double)to[j];
        }
    }
    return sum;
}

static inline ptrdiff_t XE(at)(const void *index, int is_64, ptrdiff_t t)
{
    return is_64 ? (ptrdiff_t)((const int64_t *)index)[t] : (ptrdiff_t)((const int32_t *)index)[t];
}

/* CSR rows touch few features each: the gradient is (d, R) doubles, so that a stored value updates adjacent numbers. */
static double XE(sparse_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, REAL *scratch, double *grad)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs;
    const float *xf = p->x;
    const double *xd = p->x;
    const REAL *coef = p->coef, *intercept = p->intercept;
    REAL *z = scratch, *g = z + GRAD_BLOCK_OF_ROWS(p);
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows;
        for (ptrdiff_t r = 0; r < n; r++) {
            REAL *zr = z + r * R;
            for (ptrdiff_t k = 0; k < R; k++) zr[k] = intercept[k];
            const ptrdiff_t stop = XE(at)(p->indptr, p->indices_are_64, first + r + 1);
            for (ptrdiff_t t = XE(at)(p->indptr, p->indices_are_64, first + r); t < stop; t++) {
                const REAL x = p->x_is_float ? (REAL)xf[t] : (REAL)xd[t];
                const REAL *w = coef + XE(at)(p->indices, p->indices_are_64, t) * R;
                for (ptrdiff_t k = 0; k < R; k++) zr[k] += x * w[k];
            }
        }
        sum += XE(rows_of)(p, first, n, z, g);
        for (ptrdiff_t r = 0; r < n; r++) {
            if (p->target.sample_weight && p->target.sample_weight[first + r] == 0.0) continue;
            const REAL *gr = g + r * R;
            for (ptrdiff_t k = 0; k < R; k++) grad[d * R + k] += (double)gr[k];
            const ptrdiff_t stop = XE(at)(p->indptr, p->indices_are_64, first + r + 1);
            for (ptrdiff_t t = XE(at)(p->indptr, p->indices_are_64, first + r); t < stop; t++) {
                const double x = p->x_is_float ? (double)xf[t] : xd[t];
                double *to = grad + XE(at)(p->indices, p->indices_are_64, t) * R;
                for (ptrdiff_t k = 0; k < R; k++) to[k] += x * (double)gr[k];
            }
        }
    }
    return sum;
}

static double XE(linear_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    memset(grad, 0, (size_t)(p->n_outputs * (p->n_features + 1)) * sizeof(double));
    return (p->indptr ? XE(sparse_rows) : XE(dense_rows))(p, begin, end, scratch, grad);
}

static void XE(narrow)(const double *from, ptrdiff_t n, void *to)
{
    for (ptrdiff_t i = 0; i < n; i++) ((REAL *)to)[i] = (REAL)from[i];
}

const xe_kernels XE(xe_kernels) = {XE(linear_scratch), XE(linear_rows), XE(narrow)};

#undef GRAD_BLOCK_OF_ROWS
