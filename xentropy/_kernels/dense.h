/* The fused pass over dense X: a block of rows -> its logits -> their losses -> its share of the gradient, while the
 * block is in cache. A template: REAL is float or double.
 *
 *     Z = X W^T + b,   G = dL/dZ,   grad_W = G^T X,   grad_b = sum_i g_i
 *
 * Two shapes of it. Few outputs: logits are dot products along the features, so no lane is wasted on a row of 3 or 10
 * classes, and they are kept class after class (R, stride), a lane of the softmax being a row. Many outputs: logits are
 * a blocked matrix product, a lane being a class, kept row after row.
 */

/* Tiles that fit the register file: 32 registers of AVX-512 and arm64, 16 of AVX2 and SSE2. A tile of the gradient has n
 * outputs and v vectors of features: TILE(n, v). */
#if XE_BYTES == 64 || defined(__aarch64__)
#define MAX_OUTPUTS 8
#define GRADIENT_TILES TILE(1, 8) TILE(2, 8) TILE(3, 6) TILE(4, 5) TILE(5, 4) TILE(6, 4) TILE(7, 3) TILE(8, 3)
#elif XE_BYTES == 32
#define MAX_OUTPUTS 4
#define GRADIENT_TILES TILE(1, 8) TILE(2, 4) TILE(3, 3) TILE(4, 3)
#else
#define MAX_OUTPUTS 4
#define GRADIENT_TILES TILE(1, 6) TILE(2, 4) TILE(3, 3) TILE(4, 2)
#endif
#define PANEL 3 /* vectors of classes, or of features, in a tile of many outputs */

static inline ptrdiff_t XE(padded)(ptrdiff_t n)
{
    return (n + VL - 1) / VL * VL;
}

static inline int XE(is_few)(const xe_linear *p)
{
    return p->n_outputs <= FEW_CLASSES;
}

/* ---- coefficients, packed once an evaluation, features begin..end at a time: few: (R, d') and b (R); many: panels of PANEL vectors of classes,
 * feature after feature, and b (R'), where a padding class has b = -inf: its exp and its gradient are 0 ---- */

static size_t XE(dense_packed)(const xe_linear *p)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs;
    return (size_t)(XE(is_few)(p) ? R * (XE(padded)(d) + 1) : XE(padded)(R) * (d + 1)) * sizeof(REAL);
}

static void XE(dense_pack)(const xe_linear *p, const double *coef, const double *intercept, ptrdiff_t begin,
                           ptrdiff_t end, REAL *to)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs, columns = XE(padded)(R), stride = XE(padded)(d);
    const int few = XE(is_few)(p);
    if (few) {
        for (ptrdiff_t k = 0; k < R; k++)
            for (ptrdiff_t j = begin; j < (end < d ? end : stride); j++)
                to[k * stride + j] = j < d ? (REAL)coef[j * R + k] : 0;
    } else {
        for (ptrdiff_t k = 0; k < columns; k += PANEL * VL) {
            const ptrdiff_t width = columns - k < PANEL * VL ? columns - k : PANEL * VL;
            const ptrdiff_t n = R - k < width ? R - k : width;
            for (ptrdiff_t j = begin; j < end; j++) {
                REAL *row = to + k * d + j * width;
                for (ptrdiff_t c = 0; c < n; c++) row[c] = (REAL)coef[j * R + k + c];
                for (ptrdiff_t c = n; c < width; c++) row[c] = 0;
            }
        }
    }
    if (end < d) return;
    to += few ? R * stride : columns * d;
    for (ptrdiff_t k = 0; k < (few ? R : columns); k++) to[k] = k < R ? (REAL)intercept[k] : -(REAL)INFINITY;
}

/* ---- a block of rows ---- */

typedef struct {
    const REAL *x;
    ptrdiff_t stride, n_features; /* n_features may be padded by zeros up to whole vectors */
} XE(rows);

/* Rows of X as REAL. They are used in place, unless they are stored in another type, or one of them is ignored: it may
 * hold NaN, and 0 * NaN would reach the gradient, so it is read as zeros; or a tail cannot be loaded under a mask. */
static XE(rows) XE(dense_block)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n_rows, REAL *scratch)
{
    const ptrdiff_t d = p->n_features, stride = XE(padded)(d);
    const double *s = p->target.sample_weight;
    const int same_type = p->x_is_float == XE_IS_FLOAT, tail_is_cheap = XE_BYTES > 16 || stride == d;
    int ignored = 0;
    for (ptrdiff_t r = 0; s && r < n_rows; r++) ignored |= s[first + r] == 0.0;
    if (same_type && tail_is_cheap && !ignored) return (XE(rows)){(const REAL *)p->x + first * d, d, d};
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        REAL *to = scratch + r * stride;
        if (s && s[first + r] == 0.0) {
            memset(to, 0, (size_t)d * sizeof(REAL));
        } else if (p->x_is_float) {
            const float *from = (const float *)p->x + (first + r) * d;
            for (ptrdiff_t j = 0; j < d; j++) to[j] = (REAL)from[j];
        } else {
            const double *from = (const double *)p->x + (first + r) * d;
            for (ptrdiff_t j = 0; j < d; j++) to[j] = (REAL)from[j];
        }
        for (ptrdiff_t j = d; j < stride; j++) to[j] = 0;
    }
    return (XE(rows)){scratch, stride, stride};
}

/* ---- logits of few outputs: dot products of ROWS rows with n_k rows of W ---- */

XE_INLINE void XE(dot_tile)(const int n_k, XE(rows) x, const ptrdiff_t *row, const REAL *w, ptrdiff_t w_stride,
                            const REAL *intercept, REAL *z, ptrdiff_t z_stride)
{
    const ptrdiff_t d = x.n_features, whole = d / VL * VL;
    V acc[3][ROWS];
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int r = 0; r < ROWS; r++) acc[k][r] = XE(all)(0);
    for (ptrdiff_t j = 0; j < whole; j += VL) {
        V w_k[3];
        XE_UNROLL
        for (int k = 0; k < n_k; k++) w_k[k] = XE(load)(w + k * w_stride + j);
        XE_UNROLL
        for (int r = 0; r < ROWS; r++) {
            const V x_r = XE(load)(x.x + row[r] + j);
            XE_UNROLL
            for (int k = 0; k < n_k; k++) acc[k][r] += x_r * w_k[k];
        }
    }
    if (whole < d) {
        V w_k[3];
        XE_UNROLL
        for (int k = 0; k < n_k; k++) w_k[k] = XE(load)(w + k * w_stride + whole);
        XE_UNROLL
        for (int r = 0; r < ROWS; r++) {
            const V x_r = XE(load_some)(x.x + row[r] + whole, d - whole);
            XE_UNROLL
            for (int k = 0; k < n_k; k++) acc[k][r] += x_r * w_k[k];
        }
    }
    XE_UNROLL
    for (int k = 0; k < n_k; k++) XE(sums)(acc[k], intercept[k], z + k * z_stride);
}

/* z (R, stride), for n_rows rows and on to the end of the last vector, which repeats the last row */
static void XE(few_logits)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, REAL *z, ptrdiff_t stride)
{
    const ptrdiff_t R = p->n_outputs, w_stride = XE(padded)(p->n_features);
    const REAL *w = p->packed, *intercept = w + R * w_stride;
    for (ptrdiff_t r = 0; r < n_rows || r % VL; r += ROWS) {
        ptrdiff_t row[ROWS], k = 0;
        for (ptrdiff_t i = 0; i < ROWS; i++) row[i] = (r + i < n_rows ? r + i : n_rows - 1) * x.stride;
        for (; k + 3 <= R; k += 3)
            XE(dot_tile)(3, x, row, w + k * w_stride, w_stride, intercept + k, z + k * stride + r, stride);
        if (R - k == 2)
            XE(dot_tile)(2, x, row, w + k * w_stride, w_stride, intercept + k, z + k * stride + r, stride);
        else if (R - k == 1)
            XE(dot_tile)(1, x, row, w + k * w_stride, w_stride, intercept + k, z + k * stride + r, stride);
    }
}

/* ---- logits of many outputs: ROWS rows, n_v vectors of classes, features broadcast ---- */

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
            const V x_r = XE(all)(x.x[row[r] + j]);
            XE_UNROLL
            for (int v = 0; v < n_v; v++) acc[r][v] += x_r * w_v[v];
        }
    }
    XE_UNROLL
    for (int r = 0; r < ROWS; r++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) XE(store)(z + r * z_stride + v * VL, acc[r][v]);
}

/* z (n_rows, stride), and on to the end of the last ROWS rows, which repeat the last one */
static void XE(many_logits)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, REAL *z, ptrdiff_t stride)
{
    enum { DEPTH = 128 }; /* features whose panel of W stays in L1 while the rows of the block go by */
    const ptrdiff_t d = p->n_features, columns = XE(padded)(p->n_outputs);
    const REAL *intercept = (const REAL *)p->packed + columns * d;
    for (ptrdiff_t begin = 0; begin == 0 || begin < d; begin += DEPTH) {
        const ptrdiff_t end = d - begin < DEPTH ? d : begin + DEPTH;
        for (ptrdiff_t k = 0; k < columns; k += PANEL * VL) {
            const REAL *w = (const REAL *)p->packed + k * d, *b = begin == 0 ? intercept + k : NULL;
            const ptrdiff_t n_v = (columns - k) / VL;
            for (ptrdiff_t r = 0; r < n_rows; r += ROWS) {
                ptrdiff_t row[ROWS];
                for (ptrdiff_t i = 0; i < ROWS; i++) row[i] = (r + i < n_rows ? r + i : n_rows - 1) * x.stride;
                REAL *to = z + r * stride + k;
                if (n_v >= 3)
                    XE(panel_tile)(3, x, row, begin, end, w, to, stride, b);
                else if (n_v == 2)
                    XE(panel_tile)(2, x, row, begin, end, w, to, stride, b);
                else
                    XE(panel_tile)(1, x, row, begin, end, w, to, stride, b);
            }
        }
    }
}

/* ---- the gradient: n_k outputs by n_v vectors of features stay in registers while the rows go by ----
 *
 * g of row r and output k lies at g + r g_row + k g_class. to (n_k, to_stride) doubles, += */
XE_INLINE void XE(gradient_tile)(const int n_k, const int n_v, const int masked, const REAL *x, ptrdiff_t x_stride,
                                 ptrdiff_t n_features, const REAL *g, ptrdiff_t g_row, ptrdiff_t g_class,
                                 ptrdiff_t n_rows, double *to, ptrdiff_t to_stride)
{
    V acc[8][8];
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) acc[k][v] = XE(all)(0);
    for (ptrdiff_t r = 0; r < n_rows; r++, x += x_stride, g += g_row) {
        V x_v[8];
        XE_UNROLL
        for (int v = 0; v < n_v; v++)
            x_v[v] = masked ? XE(load_some)(x + v * VL, n_features - v * VL) : XE(load)(x + v * VL);
        XE_UNROLL
        for (int k = 0; k < n_k; k++) {
            const V g_k = XE(all)(g[k * g_class]);
            XE_UNROLL
            for (int v = 0; v < n_v; v++) acc[k][v] += g_k * x_v[v];
        }
    }
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++)
            if (!masked || v * VL < n_features) XE(wide_store)(to + k * to_stride + v * VL, acc[k][v], 1);
}

/* all features of n_k outputs */
XE_INLINE void XE(gradient_strip)(const int n_k, const int n_v, XE(rows) x, const REAL *g, ptrdiff_t g_class,
                                  ptrdiff_t n_rows, double *to, ptrdiff_t to_stride)
{
    const ptrdiff_t d = x.n_features;
    ptrdiff_t j = 0;
    for (; j + n_v * VL <= d; j += n_v * VL)
        XE(gradient_tile)(n_k, n_v, 0, x.x + j, x.stride, d - j, g, 1, g_class, n_rows, to + j, to_stride);
    if (XE_BYTES > 16 && d - j > VL) {
        XE(gradient_tile)(n_k, n_v, 1, x.x + j, x.stride, d - j, g, 1, g_class, n_rows, to + j, to_stride);
        return;
    }
    for (; j < d; j += VL)
        XE(gradient_tile)(n_k, 1, XE_BYTES > 16, x.x + j, x.stride, d - j, g, 1, g_class, n_rows, to + j, to_stride);
}

/* g (R, g_stride) */
static void XE(few_gradient)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, const REAL *g, ptrdiff_t g_stride,
                             double *to)
{
    const ptrdiff_t R = p->n_outputs, stride = XE(padded)(p->n_features);
    const ptrdiff_t n_strips = (R + MAX_OUTPUTS - 1) / MAX_OUTPUTS;
    for (ptrdiff_t s = 0; s < n_strips; s++) {
        const ptrdiff_t k = R * s / n_strips, n_k = R * (s + 1) / n_strips - k;
        switch (n_k) {
#define TILE(n, v) \
    case n: XE(gradient_strip)(n, v, x, g + k * g_stride, g_stride, n_rows, to + k * stride, stride); break;
            GRADIENT_TILES
#undef TILE
        }
    }
    for (ptrdiff_t k = 0; k < R; k++, g += g_stride) {
        V sum = XE(all)(0);
        ptrdiff_t r = 0;
        for (; r + VL <= n_rows; r += VL) sum += XE(load)(g + r);
        if (r < n_rows) sum += XE(load_some)(g + r, n_rows - r);
        to[R * stride + k] += (double)XE(sum)(sum);
    }
}

/* g in tiles of VL outputs, g_tile apart; a tile is (n_rows, VL). x_tile: (n_rows, PANEL VL) scratch */
static void XE(many_gradient)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, const REAL *g, ptrdiff_t g_tile,
                              REAL *x_tile, double *to)
{
    enum { N_K = VL < MAX_OUTPUTS ? VL : MAX_OUTPUTS };
    const ptrdiff_t d = x.n_features, columns = XE(padded)(p->n_outputs), stride = XE(padded)(p->n_features);
    for (ptrdiff_t j = 0; j < d; j += PANEL * VL) {
        const ptrdiff_t n_v = d - j < PANEL * VL ? (d - j + VL - 1) / VL : PANEL, width = n_v * VL;
        const ptrdiff_t n = d - j < width ? d - j : width;
        for (ptrdiff_t r = 0; r < n_rows; r++)
            for (ptrdiff_t v = 0; v < width; v += VL)
                XE(store)(x_tile + r * width + v, n - v >= VL ? XE(load)(x.x + r * x.stride + j + v)
                                                              : XE(load_some)(x.x + r * x.stride + j + v, n - v));
        for (ptrdiff_t k = 0; k < columns; k += N_K) {
            const REAL *g_k = g + k / VL * g_tile + k % VL;
            double *to_k = to + k * stride + j;
            if (n_v == 3)
                XE(gradient_tile)(N_K, 3, 0, x_tile, width, n, g_k, VL, 1, n_rows, to_k, stride);
            else if (n_v == 2)
                XE(gradient_tile)(N_K, 2, 0, x_tile, width, n, g_k, VL, 1, n_rows, to_k, stride);
            else
                XE(gradient_tile)(N_K, 1, 0, x_tile, width, n, g_k, VL, 1, n_rows, to_k, stride);
        }
    }
    for (ptrdiff_t k = 0; k < columns; k += VL, g += g_tile) {
        V sum = XE(all)(0);
        for (ptrdiff_t r = 0; r < n_rows; r++) sum += XE(load)(g + r * VL);
        XE(wide_store)(to + columns * stride + k, sum, 1);
    }
}

/* ---- the pass ---- */

static ptrdiff_t XE(dense_partial)(const xe_linear *p)
{
    const ptrdiff_t rows = XE(is_few)(p) ? p->n_outputs : XE(padded)(p->n_outputs);
    return rows * (XE(padded)(p->n_features) + 1);
}

/* block_rows up to whole vectors and tiles */
static inline ptrdiff_t XE(block_stride)(const xe_linear *p)
{
    return (p->block_rows + 15) / 16 * 16;
}

static size_t XE(dense_scratch)(const xe_linear *p)
{
    const ptrdiff_t stride = XE(block_stride)(p), R = p->n_outputs;
    /* logits and gradient, and both row after row for losses.h; X; a tile of X */
    const ptrdiff_t values = 4 * XE(padded)(R) + XE(padded)(p->n_features) + PANEL * VL;
    return (size_t)(BLOCK_BYTES(stride) + stride * values * (ptrdiff_t)sizeof(REAL));
}

static double XE(few_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    const ptrdiff_t stride = XE(block_stride)(p), R = p->n_outputs;
    const int sigmoid = R < p->target.n_classes, plain = XE(is_plain)(&p->target);
    XE(block) b;
    REAL *z = (REAL *)XE(carve)(scratch, stride, &b), *g = z + R * stride, *rows = g + R * stride;
    REAL *z_rows = rows + stride * XE(padded)(p->n_features), *g_rows = z_rows + R * stride;
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows, padded = XE(padded)(n);
        const XE(rows) x = XE(dense_block)(p, first, n, rows);
        XE(few_logits)(p, x, n, z, stride);
        if (sigmoid) {
            sum += XE(sigmoid_rows)(&p->target, first, n, z, g, NULL);
        } else if (plain) {
            XE(bind_rows)(&p->target, first, n, padded, &b);
            XE(exp_columns)(R, padded, z, g, stride, &b);
            sum += XE(finish_rows)(padded, &b);
            XE(scale_columns)(R, padded, g, stride, &b);
        } else {
            for (ptrdiff_t r = 0; r < n; r++)
                for (ptrdiff_t k = 0; k < R; k++) z_rows[r * R + k] = z[k * stride + r];
            sum += XE(xe_softmax_rows)(&p->target, first, n, z_rows, g_rows, NULL);
            for (ptrdiff_t r = 0; r < n; r++)
                for (ptrdiff_t k = 0; k < R; k++) g[k * stride + r] = g_rows[r * R + k];
        }
        XE(few_gradient)(p, x, n, g, stride, grad);
    }
    return sum;
}

static double XE(many_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    const ptrdiff_t stride = XE(block_stride)(p), R = p->n_outputs, columns = XE(padded)(R);
    const int plain = XE(is_plain)(&p->target);
    XE(block) b;
    REAL *z = (REAL *)XE(carve)(scratch, stride, &b), *g = z + columns * stride, *rows = g + columns * stride;
    REAL *x_tile = rows + stride * XE(padded)(p->n_features);
    REAL *z_rows = x_tile + stride * PANEL * VL, *g_rows = z_rows + R * stride;
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows, padded = XE(padded)(n);
        const ptrdiff_t g_tile = n * VL;
        const XE(rows) x = XE(dense_block)(p, first, n, rows);
        XE(many_logits)(p, x, n, z, columns);
        if (plain) {
            const int32_t *y = p->target.labels + first;
            XE(bind_rows)(&p->target, first, n, padded, &b);
            for (ptrdiff_t r = 0; r < n; r++)
                XE(begin_row)(z + r * columns, columns, g + r * VL, g_tile, y[r], r, &b);
            for (ptrdiff_t r = n; r < padded; r++) b.rest[r] = b.gap[r] = 0.0;
            sum += XE(finish_rows)(padded, &b);
            for (ptrdiff_t r = 0; r < n; r++) XE(scale_row)(columns, g + r * VL, g_tile, y[r], r, &b);
        } else {
            for (ptrdiff_t r = 0; r < n; r++)
                memcpy(z_rows + r * R, z + r * columns, (size_t)R * sizeof(REAL));
            sum += XE(xe_softmax_rows)(&p->target, first, n, z_rows, g_rows, NULL);
            for (ptrdiff_t k = 0; k < columns; k += VL)
                for (ptrdiff_t r = 0; r < n; r++)
                    XE(store)(g + k * n + r * VL, R - k >= VL ? XE(load)(g_rows + r * R + k)
                                                              : XE(load_some)(g_rows + r * R + k, R - k));
        }
        XE(many_gradient)(p, x, n, g, g_tile, x_tile, grad);
    }
    return sum;
}
