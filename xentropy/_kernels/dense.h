/* The fused pass over dense X: a block of rows -> its logits -> their losses -> its share of the gradient, while the
 * block is in cache. A template: REAL is float or double.
 *
 *     Z = X W^T + b,   G = dL/dZ,   grad_W = G^T X,   grad_b = sum_i g_i
 *
 * Two shapes of it. Few outputs: logits are kept class after class (R, stride), a lane of the softmax being a row, so
 * that no lane is wasted on a row of 3 or 10 classes. Up to DOTTED outputs they are dot products along the features;
 * with more, a lane is a row there too, for which X is turned in registers. Many outputs: logits are a blocked matrix
 * product, a lane being a class, kept row after row.
 */

/* Tiles that fit the register file: 32 registers of AVX-512 and arm64, 16 of AVX2 and SSE2. A tile of the gradient has
 * n outputs and v vectors of features: TILE(n, v). */
#if XE_BYTES == 64 || defined(__aarch64__)
#define MAX_OUTPUTS 12
#define GRADIENT_TILES                                                                                             \
    TILE(1, 8) TILE(2, 8) TILE(3, 6) TILE(4, 5) TILE(5, 4) TILE(6, 4) TILE(7, 3) TILE(8, 3) TILE(9, 2) TILE(10, 2) \
    TILE(11, 2) TILE(12, 2)
#elif XE_BYTES == 32
#define MAX_OUTPUTS 6
#define GRADIENT_TILES TILE(1, 8) TILE(2, 4) TILE(3, 4) TILE(4, 3) TILE(5, 2) TILE(6, 2)
#else
#define MAX_OUTPUTS 4
#define GRADIENT_TILES TILE(1, 6) TILE(2, 4) TILE(3, 3) TILE(4, 2)
#endif
/* To sum across lanes takes less than to turn X up to DOTTED outputs; with vectors of 16 bytes, for all. A tile of
 * logits of turned X has as many outputs as registers hold beside features of X, and two vectors of rows where there is
 * room, for which a coefficient is then loaded once. */
#if XE_BYTES == 64
#define DOTTED 3
#define STRIP 12
#define STRIP_VECTORS(n_k) ((n_k) <= (XE_IS_FLOAT ? 10 : 6) ? 2 : 1)
#define STRIPS TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
#elif XE_BYTES == 32
#define DOTTED 3
#define STRIP 6
#define STRIPS TILE(3) TILE(4) TILE(5) TILE(6)
#define ASKED 16 /* features of the rows of a strip that ask for lines of the next block together */
#else
#define DOTTED FEW_CLASSES
#endif
/* One output's dot products with ROWS rows are too few to keep two multipliers of a latency of 4 busy. */
#define GROUPS (ROWS < 8 ? 2 : 1)
/* Of n vectors in each row, so many rows ask for lines of the next block together: for half as many as they lie in. */
#define ASKING(n) (XE_BYTES == 64 ? 1 : (n) > 4 ? 2 : (n) > 2 ? 4 : (n) > 1 ? 8 : 16)
#define HALF_LINES(n) (((n) * ASKING(n) * (XE_BYTES ? XE_BYTES : 8) + 127) / 128)
/* features of some rows, as they are and turned, and of W that stay in L1 together */
#define DEPTH ((XE_BYTES == 32 ? 1024 : 2048) / (ptrdiff_t)sizeof(REAL))
#define PANEL 3 /* vectors of classes, or of features, in a tile of many outputs */

static inline ptrdiff_t XE(padded)(ptrdiff_t n)
{
    return (n + VL - 1) / VL * VL;
}

static inline int XE(is_few)(const xe_linear *p)
{
    return p->n_outputs <= FEW_CLASSES;
}

/* Many outputs are cut into panels of PANEL vectors at most, as equal as can be: panel q starts at this output. */
static inline ptrdiff_t XE(n_panels)(ptrdiff_t n_outputs)
{
    return (n_outputs + PANEL * VL - 1) / (PANEL * VL);
}

static inline ptrdiff_t XE(panel)(ptrdiff_t n_outputs, ptrdiff_t q)
{
    return XE(padded)(n_outputs) / VL * q / XE(n_panels)(n_outputs) * VL;
}

/* ---- coefficients, packed once an evaluation, features begin..end at a time ----
 *
 * Up to DOTTED outputs: (R, d') and b (R). A few more: (d, R) and b (R). Many: panels of classes, feature after
 * feature, and b (R'); a padding class has b = -inf, so that its exp and its gradient are 0. */
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
    ptrdiff_t stride, n_features; /* n_features may be padded by zeros up to whole vectors */
    const char *ahead;            /* where the next block is stored: this block's arithmetic fetches it */
} XE(rows);

/* Memory is busy only while somebody asks for it, so the loops over a block ask for the next one, `lines` cache lines
 * at a time: half of it during the logits, half of it during the gradient. */
XE_INLINE const char *XE(fetch)(const char *ahead, ptrdiff_t lines)
{
    XE_UNROLL
    for (ptrdiff_t i = 0; i < lines; i++) XE_PREFETCH(ahead + 64 * i);
    return ahead + 64 * lines;
}

/* Rows of X as REAL, in place where that is possible: not where they are stored in another type, or shifted, or one of
 * them is ignored: it may hold NaN, and 0 * NaN would reach the gradient, so it is read as zeros; nor where a tail
 * cannot be loaded under a mask. Then they are copied to scratch by copy_rows, a part at a time, just before the part
 * is used. */
static XE(rows) XE(dense_block)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n_rows, REAL *scratch)
{
    const ptrdiff_t d = p->n_features, stride = XE(padded)(d), size = p->x_is_float ? sizeof(float) : sizeof(double);
    const double *s = p->target.sample_weight;
    const char *x = (const char *)p->x + first * d * size;
    int in_place = p->x_is_float == XE_IS_FLOAT && !p->shift && (XE_BYTES > 16 ? d >= VL : stride == d);
    for (ptrdiff_t r = 0; s && r < n_rows; r++) in_place &= s[first + r] != 0.0;
    const XE(rows) here = {(const REAL *)(const void *)x, d, d, x + n_rows * d * size};
    const XE(rows) copy = {scratch, stride, stride, here.ahead};
    return in_place ? here : copy;
}

/* rows first + begin..first + end of X, features from..to, into their places in the copy of the block */
static void XE(copy_rows)(const xe_linear *p, ptrdiff_t first, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t from,
                          ptrdiff_t to, REAL *scratch)
{
    const ptrdiff_t d = p->n_features, stride = XE(padded)(d), stop = to < d ? to : d;
    const double *s = p->target.sample_weight;
    for (ptrdiff_t r = begin; r < end; r++) {
        REAL *row = scratch + r * stride;
        ptrdiff_t j = from;
        if (s && s[first + r] == 0.0) {
            memset(row + from, 0, (size_t)(to - from) * sizeof(REAL));
        } else if (p->shift) {
            const float *xf = p->x;
            const double *xd = p->x;
            const ptrdiff_t at = (first + r) * d;
            for (; j < stop; j++) row[j] = (REAL)((p->x_is_float ? (double)xf[at + j] : xd[at + j]) - p->shift[j]);
            for (; j < to; j++) row[j] = 0;
        } else if (p->x_is_float == XE_IS_FLOAT) {
            const REAL *x = (const REAL *)p->x + (first + r) * d;
            for (; j + VL <= stop; j += VL) XE(store)(row + j, XE(load)(x + j));
            if (j < stop) XE(store)(row + j, XE(load_some)(x + j, stop - j));
        } else if (p->x_is_float) {
            const float *x = (const float *)p->x + (first + r) * d;
            for (; j < stop; j++) row[j] = (REAL)x[j];
            for (; j < to; j++) row[j] = 0;
        } else {
            const double *x = (const double *)p->x + (first + r) * d;
            for (; j < stop; j++) row[j] = (REAL)x[j];
            for (; j < to; j++) row[j] = 0;
        }
    }
}

/* ---- logits of few outputs: dot products of n_groups of ROWS rows with n_k rows of W ---- */

XE_INLINE const char *XE(dot_tile)(const int n_k, const int n_groups, const int lines, XE(rows) x,
                                   const ptrdiff_t *row, ptrdiff_t from, ptrdiff_t d, const REAL *w, ptrdiff_t w_stride,
                                   const REAL *intercept, REAL *z, ptrdiff_t z_stride, const char *ahead)
{
    const int n_rows = n_groups * ROWS;
    const ptrdiff_t whole = d / VL * VL;
    V acc[3][GROUPS * ROWS];
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int r = 0; r < n_rows; r++) acc[k][r] = XE(all)(0);
    for (ptrdiff_t j = from; j < whole; j += VL) {
        V w_k[3];
        XE_UNROLL
        for (int k = 0; k < n_k; k++) w_k[k] = XE(load)(w + k * w_stride + j);
        XE_UNROLL
        for (int r = 0; r < n_rows; r++) {
            V x_r = XE(load)(x.x + row[r] + j);
            XE_KEEP(x_r);
            XE_UNROLL
            for (int k = 0; k < n_k; k++) acc[k][r] += x_r * w_k[k];
        }
        ahead = XE(fetch)(ahead, lines);
    }
    if (whole < d) {
        V w_k[3];
        XE_UNROLL
        for (int k = 0; k < n_k; k++) w_k[k] = XE(load)(w + k * w_stride + whole);
        XE_UNROLL
        for (int r = 0; r < n_rows; r++) {
            const V x_r = XE(load_some)(x.x + row[r] + whole, d - whole);
            XE_UNROLL
            for (int k = 0; k < n_k; k++) acc[k][r] += x_r * w_k[k];
        }
    }
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int r = 0; r < n_rows; r += ROWS)
            XE(sums)(acc[k] + r, intercept ? intercept + k : NULL, z + k * z_stride + r);
    return ahead;
}

/* All outputs of ROWS rows, GROUPS times as many if there is one output, features from..to. The more outputs, the more
 * steps there are to ask for half the lines of the next block. */
XE_INLINE const char *XE(dot_rows)(ptrdiff_t R, XE(rows) x, const ptrdiff_t *row, ptrdiff_t from, ptrdiff_t to,
                                   const REAL *w, ptrdiff_t w_stride, const REAL *intercept, REAL *z,
                                   ptrdiff_t stride, const char *ahead)
{
    enum { HALF = (ROWS * (XE_BYTES ? XE_BYTES : 8) + 127) / 128, EIGHTH = (HALF + 3) / 4 };
#define TILE(n_k, n_groups, lines) \
    XE(dot_tile)(n_k, n_groups, lines, x, row, from, to, w, w_stride, intercept, z, stride, ahead)
    if (R == 1) return TILE(1, GROUPS, GROUPS * HALF);
    if (R == 2) return TILE(2, 1, HALF);
    if (R == 3) return TILE(3, 1, HALF);
#if DOTTED > 3
    for (; R > 0; R -= 3, w += 3 * w_stride, z += 3 * stride, intercept += intercept ? 3 : 0)
        ahead = R == 1 ? TILE(1, 1, EIGHTH) : R == 2 ? TILE(2, 1, EIGHTH) : TILE(3, 1, EIGHTH);
#endif
#undef TILE
    return ahead;
}

#if DOTTED < FEW_CLASSES
/* ---- logits of a few outputs: a lane is a row, so X is turned ----
 *
 * Registers hold a strip of outputs. Where that is mostly all of them, X is turned as it is used; otherwise once, into
 * `panel` (to - from, 2 VL), for two vectors of rows and all strips.
 * w (d, w_stride); z (n_k, z_stride) starts at the intercepts, or goes on where they are NULL. */
#if XE_BYTES == 64
XE_INLINE void XE(turned_step)(const int n_k, const int n_v, ptrdiff_t n, const REAL *x, const ptrdiff_t *row,
                               const REAL *w, ptrdiff_t w_stride, V acc[STRIP][2])
{
    V x_v[2][TURN];
    XE_UNROLL
    for (int v = 0; v < n_v; v++) XE(turn)(x, row + v * VL, n, x_v[v]);
    XE_UNROLL
    for (int c = 0; c < TURN; c++, w += w_stride) {
        if (c >= n) break;
        XE_UNROLL
        for (int k = 0; k < n_k; k++) {
            const V w_k = XE(all)(w[k]);
            XE_UNROLL
            for (int v = 0; v < n_v; v++) acc[k][v] += x_v[v][c] * w_k;
        }
    }
}

XE_INLINE const char *XE(strip_logits)(const int n_k, const int n_v, XE(rows) x, const ptrdiff_t *row, ptrdiff_t from,
                                       ptrdiff_t to, const REAL *w, ptrdiff_t w_stride, const REAL *intercept, REAL *z,
                                       ptrdiff_t z_stride, const char *ahead)
{
    const int half = n_v * (int)(VL * TURN * (ptrdiff_t)sizeof(REAL) / 2); /* of the bytes of a step: see fetch */
    V acc[STRIP][2];
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++)
            acc[k][v] = intercept ? XE(all)(intercept[k]) : XE(load)(z + k * z_stride + v * VL);
    ptrdiff_t j = from;
    for (; j + TURN <= to; j += TURN) {
        XE(turned_step)(n_k, n_v, TURN, x.x + j, row, w + j * w_stride, w_stride, acc);
        XE_UNROLL
        for (int i = 0; i < half; i += 64) XE_PREFETCH(ahead + i);
        ahead += half;
    }
    if (j < to) XE(turned_step)(n_k, n_v, to - j, x.x + j, row, w + j * w_stride, w_stride, acc);
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) XE(store)(z + k * z_stride + v * VL, acc[k][v]);
    return ahead;
}

/* all outputs of two vectors of rows, of which n exist; each strip of outputs asks for the same of the next block */
XE_INLINE const char *XE(turned_rows)(ptrdiff_t R, ptrdiff_t n, XE(rows) x, const ptrdiff_t *row, ptrdiff_t from,
                                      ptrdiff_t to, const REAL *w, const REAL *intercept, REAL *z, ptrdiff_t stride,
                                      REAL *panel, const char *ahead)
{
    const ptrdiff_t n_strips = (R + STRIP - 1) / STRIP;
    const char *asked = ahead;
    (void)panel;
    for (ptrdiff_t s = 0; s < n_strips; s++) {
        const ptrdiff_t k = R * s / n_strips;
        const REAL *start = intercept ? intercept + k : NULL;
        REAL *z_k = z + k * stride;
        asked = ahead;
        switch (R * (s + 1) / n_strips - k) {
#define TILE(n_k)                                                                                              \
    case n_k:                                                                                                  \
        for (ptrdiff_t r = 0; r < 2 * VL && r < n; r += STRIP_VECTORS(n_k) * VL)                               \
            asked = XE(strip_logits)(n_k, STRIP_VECTORS(n_k), x, row + r, from, to, w + k, R, start, z_k + r,  \
                                     stride, asked);                                                           \
        break;
            STRIPS
#undef TILE
        }
    }
    return asked;
}
#else
/* panel (n, 2 VL): its column i is row i, n features from x + row[i] on, i < VL */
XE_INLINE void XE(turn_rows)(const REAL *x, const ptrdiff_t *row, ptrdiff_t n, REAL *panel)
{
    for (ptrdiff_t j = 0; j < n; j += TURN) {
        const ptrdiff_t left = n - j;
        V x_v[TURN];
        XE(turn)(x + j, row, left, x_v);
        XE_UNROLL
        for (int c = 0; c < TURN; c++) XE(store)(panel + (j + c) * 2 * VL, x_v[c]);
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
            acc[k][v] = intercept ? XE(all)(intercept[k]) : XE(load)(z + k * z_stride + v * VL);
    for (ptrdiff_t j = 0; j < n; j++, panel += 2 * VL, w += w_stride) {
        V x_0 = XE(load)(panel), x_1 = XE(load)(panel + VL);
        XE_KEEP(x_0);
        XE_KEEP(x_1);
        if (j % ASKED == 0) ahead = XE(fetch)(ahead, lines);
        XE_UNROLL
        for (int k = 0; k < n_k; k++) {
            const V w_k = XE(all)(w[k]);
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

/* all outputs of two vectors of rows */
XE_INLINE const char *XE(turned_rows)(ptrdiff_t R, ptrdiff_t n, XE(rows) x, const ptrdiff_t *row, ptrdiff_t from,
                                      ptrdiff_t to, const REAL *w, const REAL *intercept, REAL *z, ptrdiff_t stride,
                                      REAL *panel, const char *ahead)
{
    const ptrdiff_t n_strips = (R + STRIP - 1) / STRIP, half = ASKED * 2 * XE_BYTES / 128;
    (void)n;
    for (ptrdiff_t v = 0; v < 2; v++) XE(turn_rows)(x.x + from, row + v * VL, to - from, panel + v * VL);
    for (ptrdiff_t s = 0; s < n_strips; s++) {
        const ptrdiff_t k = R * s / n_strips;
        const REAL *start = intercept ? intercept + k : NULL, *w_k = w + from * R + k;
        switch (R * (s + 1) / n_strips - k) {
#define TILE(n_k)                                                                                           \
    case n_k:                                                                                               \
        ahead = XE(strip_logits)(n_k, to - from, panel, w_k, R, start, z + k * stride, stride, half / n_strips, ahead); \
        break;
            STRIPS
#undef TILE
        }
    }
    return ahead;
}
#endif
#endif

/* z (R, stride), for n_rows rows and on to the end of the last vector, which repeats the last row */
XE_HOT void XE(few_logits)(const xe_linear *p, ptrdiff_t first, XE(rows) x, ptrdiff_t n_rows, REAL *copy, REAL *z,
                           ptrdiff_t stride)
{
    enum { MOST = GROUPS * ROWS > 2 * VL ? GROUPS * ROWS : 2 * VL }; /* rows in a step */
    const ptrdiff_t R = p->n_outputs, w_stride = XE(padded)(p->n_features);
    const ptrdiff_t step = R == 1 ? GROUPS * ROWS : R <= DOTTED ? ROWS : 2 * VL;
    const ptrdiff_t d = R <= DOTTED ? x.n_features : p->n_features; /* where X is turned, W has no padding */
    const REAL *w = p->packed, *intercept = w + XE(n_packed)(p);
    const char *ahead = x.ahead;
#if DOTTED < FEW_CLASSES
    _Alignas(64) REAL panel[XE_BYTES == 64 ? 1 : 4 * DEPTH * VL];
#endif
    for (ptrdiff_t from = 0; from == 0 || from < d; from += DEPTH) {
        const ptrdiff_t to = d - from < 2 * DEPTH ? d : from + DEPTH, copied = to < d ? to : x.n_features;
        const REAL *start = from ? NULL : intercept;
        for (ptrdiff_t r = 0; r < n_rows || r % VL; r += step) {
            ptrdiff_t row[MOST];
            for (ptrdiff_t i = 0; i < step; i++) row[i] = (r + i < n_rows ? r + i : n_rows - 1) * x.stride;
            if (x.x == copy) XE(copy_rows)(p, first, r, r + step < n_rows ? r + step : n_rows, from, copied, copy);
#if DOTTED < FEW_CLASSES
            if (R > DOTTED)
                ahead = XE(turned_rows)(R, n_rows - r, x, row, from, to, w, start, z + r, stride, panel, ahead);
            else
#endif
                ahead = XE(dot_rows)(R, x, row, from, to, w, w_stride, start, z + r, stride, ahead);
        }
        if (to == d) break;
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
XE_HOT void XE(many_logits)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, REAL *z, ptrdiff_t stride)
{
    enum { STAY = 128, LINE = 64 / sizeof(REAL) }; /* features whose panel of W stays in L1 while the rows go by */
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

/* ---- the gradient: n_k outputs by n_v vectors of features stay in registers while the rows go by ----
 *
 * g of row r and output k lies at g + r g_row + k g_class. to (n_k, to_stride) doubles, +=. The last vector lies at
 * `last`: it may share its first `counted` lanes with the tile before, which has counted them. Each ASKING rows ask for
 * `lines` lines of the next block. */
XE_INLINE const char *XE(gradient_tile)(const int n_k, const int n_v, const REAL *x, ptrdiff_t x_stride, ptrdiff_t last,
                                        ptrdiff_t counted, const REAL *g, ptrdiff_t g_row, ptrdiff_t g_class,
                                        ptrdiff_t n_rows, double *to, ptrdiff_t to_stride, ptrdiff_t lines,
                                        const char *ahead)
{
    V acc[12][8];
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) acc[k][v] = XE(all)(0);
    for (ptrdiff_t r = 0; r < n_rows; r++, x += x_stride, g += g_row) {
        V x_v[8];
        if (r % ASKING(n_v) == 0) ahead = XE(fetch)(ahead, lines);
        XE_UNROLL
        for (int v = 0; v < n_v; v++) x_v[v] = XE(load)(x + (v < n_v - 1 ? v * VL : last));
        XE_UNROLL
        for (int k = 0; k < n_k; k++) {
            const V g_k = XE(all)(g[k * g_class]);
            XE_UNROLL
            for (int v = 0; v < n_v; v++) acc[k][v] += g_k * x_v[v];
        }
    }
    if (counted)
        XE_UNROLL
        for (int k = 0; k < n_k; k++) acc[k][n_v - 1] = XE(without)(acc[k][n_v - 1], counted);
    XE_UNROLL
    for (int k = 0; k < n_k; k++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++)
            XE(wide_store)(to + k * to_stride + (v < n_v - 1 ? v * VL : last), acc[k][v], 1);
    return ahead;
}

/* all features, VL at least, of n_k outputs */
XE_INLINE const char *XE(gradient_strip)(const int n_k, const int n_v, XE(rows) x, const REAL *g, ptrdiff_t g_class,
                                         ptrdiff_t n_rows, double *to, ptrdiff_t to_stride, ptrdiff_t n_strips,
                                         const char *ahead)
{
    const ptrdiff_t d = x.n_features;
    ptrdiff_t j = 0;
    for (; j + n_v * VL <= d; j += n_v * VL)
        ahead = XE(gradient_tile)(n_k, n_v, x.x + j, x.stride, (n_v - 1) * VL, 0, g, 1, g_class, n_rows, to + j,
                                  to_stride, (HALF_LINES(n_v) + n_strips - 1) / n_strips, ahead);
    const ptrdiff_t n_rest = (d - j + VL - 1) / VL, last = d - j - VL, counted = n_rest * VL - (d - j);
#define REST(n)                                                                                                     \
    if (n <= n_v && n == n_rest)                                                                                    \
        return XE(gradient_tile)(n_k, n, x.x + j, x.stride, last, counted, g, 1, g_class, n_rows, to + j, to_stride, \
                                 (HALF_LINES(n) + n_strips - 1) / n_strips, ahead);
    REST(1) REST(2) REST(3) REST(4) REST(5) REST(6) REST(7) REST(8)
#undef REST
    return ahead;
}

/* g (R, g_stride) */
XE_HOT void XE(few_gradient)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, const REAL *g, ptrdiff_t g_stride,
                             double *to)
{
    const ptrdiff_t R = p->n_outputs, stride = XE(padded)(p->n_features);
    const ptrdiff_t n_strips = (R + MAX_OUTPUTS - 1) / MAX_OUTPUTS;
    const char *ahead = x.ahead + n_rows * p->n_features * (p->x_is_float ? 4 : 8) / 2;
    for (ptrdiff_t s = 0; s < n_strips; s++) {
        const ptrdiff_t k = R * s / n_strips, n_k = R * (s + 1) / n_strips - k;
        switch (n_k) {
#define TILE(n, v)                                                                                               \
    case n:                                                                                                      \
        ahead = XE(gradient_strip)(n, v, x, g + k * g_stride, g_stride, n_rows, to + k * stride, stride, n_strips, ahead); \
        break;
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
XE_HOT void XE(many_gradient)(const xe_linear *p, XE(rows) x, ptrdiff_t n_rows, const REAL *g, ptrdiff_t g_tile,
                              REAL *x_tile, double *to)
{
    enum { MOST = XE_BYTES == 64 ? 8 : 4, N_K = VL < MOST ? VL : MOST }; /* N_K by PANEL registers */
    const ptrdiff_t d = x.n_features, columns = XE(padded)(p->n_outputs), stride = XE(padded)(p->n_features);
    const ptrdiff_t n_tiles = (p->n_outputs + N_K - 1) / N_K * ((d + PANEL * VL - 1) / (PANEL * VL));
    const ptrdiff_t lines = n_rows * p->n_features * (p->x_is_float ? sizeof(float) : sizeof(double)) / 64;
    const ptrdiff_t share = n_tiles ? lines / n_tiles + 1 : 0; /* of the next block, to ask for at each tile */
    const char *ahead = x.ahead;
    for (ptrdiff_t j = 0; j < d; j += PANEL * VL) {
        const ptrdiff_t n_v = d - j < PANEL * VL ? (d - j + VL - 1) / VL : PANEL, width = n_v * VL;
        const ptrdiff_t n = d - j < width ? d - j : width;
        for (ptrdiff_t r = 0; r < n_rows; r++)
            for (ptrdiff_t v = 0; v < width; v += VL)
                XE(store)(x_tile + r * width + v, n - v >= VL ? XE(load)(x.x + r * x.stride + j + v)
                                                              : XE(load_some)(x.x + r * x.stride + j + v, n - v));
        for (ptrdiff_t k = 0; k < p->n_outputs; k += N_K) {
            for (ptrdiff_t i = 0; i < share; i++, ahead += 64) XE_PREFETCH(ahead);
            const REAL *g_k = g + k / VL * g_tile + k % VL;
            double *to_k = to + k * stride + j;
            for (ptrdiff_t i = 0; i < N_K; i++) /* many outputs' gradient comes from far; the rows take long enough */
                for (ptrdiff_t v = 0; v < width; v += 8) XE_PREFETCH_L1(to_k + i * stride + v);
            if (n_v == 3)
                XE(gradient_tile)(N_K, 3, x_tile, width, 2 * VL, 0, g_k, VL, 1, n_rows, to_k, stride, 0, NULL);
            else if (n_v == 2)
                XE(gradient_tile)(N_K, 2, x_tile, width, VL, 0, g_k, VL, 1, n_rows, to_k, stride, 0, NULL);
            else
                XE(gradient_tile)(N_K, 1, x_tile, width, 0, 0, g_k, VL, 1, n_rows, to_k, stride, 0, NULL);
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
    return (p->block_rows + 31) / 32 * 32;
}

static size_t XE(dense_scratch)(const xe_linear *p)
{
    const ptrdiff_t stride = XE(block_stride)(p), R = p->n_outputs;
    /* logits and gradient, and both row after row for losses.h; X; a tile of X */
    const ptrdiff_t values = 4 * XE(padded)(R) + XE(padded)(p->n_features) + PANEL * VL;
    return (size_t)(BLOCK_BYTES(stride) + stride * values * (ptrdiff_t)sizeof(REAL));
}

/* Where the losses of the rows from first on are asked for, or NULL */
static inline double *XE(losses_of)(const xe_linear *p, ptrdiff_t first)
{
    return p->row_loss ? p->row_loss + first : NULL;
}

/* The losses of n rows, where they are asked for */
static void XE(keep_losses)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n, const XE(block) * b)
{
    if (p->row_loss) memcpy(p->row_loss + first, b->loss, (size_t)n * sizeof(double));
}

/* grad_X (n_rows, d) = G W; g (R, g_stride), coefficients in the order of dense_pack */
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

/* The same from g in tiles of VL outputs, g_tile apart: dot products along the outputs, for a few rows at once */
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
            for (int i = 0; i < N; i++) acc[i] = XE(all)(0);
            for (ptrdiff_t q = 0; q < n_panels; q++) {
                const ptrdiff_t k = XE(panel)(p->n_outputs, q), width = XE(panel)(p->n_outputs, q + 1) - k;
                const REAL *w = (const REAL *)p->packed + k * d + j * width;
                for (ptrdiff_t v = 0; v < width; v += VL) {
                    const V w_v = XE(load)(w + v);
                    for (int i = 0; i < N; i++) acc[i] += w_v * XE(load)(g_row[i] + (k + v) / VL * g_tile);
                }
            }
            for (ptrdiff_t i = 0; i < n; i++) to[i * d + j] = XE(sum)(acc[i]);
        }
    }
}

static double XE(few_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    const ptrdiff_t stride = XE(block_stride)(p), R = p->n_outputs;
    const int sigmoid = R < p->target.n_classes;
    XE(block) b;
    REAL *z = (REAL *)XE(carve)(scratch, stride, &b), *g = z + R * stride, *rows = g + R * stride;
    XE(no_denormals)(&b);
    REAL *z_rows = rows + stride * XE(padded)(p->n_features), *g_rows = z_rows + R * stride;
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows;
        const XE(rows) x = XE(dense_block)(p, first, n, rows);
        XE(few_logits)(p, first, x, n, rows, z, stride);
        if (sigmoid) {
            sum += XE(sigmoid_rows)(&p->target, first, n, z, g, XE(losses_of)(p, first));
            XE(drop_tiny)(g, n, &b);
        } else if (p->target.loss.kind == XE_CROSS_ENTROPY) {
            sum += XE(column_losses)(&p->target, first, n, z, g, z_rows, stride, 1, &b);
            XE(keep_losses)(p, first, n, &b);
        } else {
            XE(columns_to_rows)(z, stride, n, R, R, z_rows);
            sum += XE(xe_softmax_rows)(&p->target, first, n, z_rows, g_rows, XE(losses_of)(p, first));
            XE(rows_to_columns)(g_rows, n, R, R, NULL, g, stride);
        }
        XE(few_gradient)(p, x, n, g, stride, grad);
        if (p->grad_x) XE(few_input_gradient)(p, first, n, g, stride);
    }
    return sum;
}

static double XE(many_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    const ptrdiff_t stride = XE(block_stride)(p), R = p->n_outputs, columns = XE(padded)(R);
    XE(block) b;
    REAL *z = (REAL *)XE(carve)(scratch, stride, &b), *g = z + columns * stride, *rows = g + columns * stride;
    XE(no_denormals)(&b);
    REAL *x_tile = rows + stride * XE(padded)(p->n_features);
    REAL *z_rows = x_tile + stride * PANEL * VL, *g_rows = z_rows + R * stride;
    double sum = 0.0;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows;
        const ptrdiff_t g_tile = n * VL;
        const XE(rows) x = XE(dense_block)(p, first, n, rows);
        if (x.x == rows) XE(copy_rows)(p, first, 0, n, 0, x.n_features, rows);
        XE(many_logits)(p, x, n, z, columns);
        if (p->target.loss.kind == XE_CROSS_ENTROPY) {
            sum += XE(row_losses)(&p->target, first, n, z, columns, columns, g, VL, g_tile, &b);
            XE(keep_losses)(p, first, n, &b);
        } else {
            for (ptrdiff_t r = 0; r < n; r++)
                memcpy(z_rows + r * R, z + r * columns, (size_t)R * sizeof(REAL));
            sum += XE(xe_softmax_rows)(&p->target, first, n, z_rows, g_rows, XE(losses_of)(p, first));
            for (ptrdiff_t k = 0; k < columns; k += VL)
                for (ptrdiff_t r = 0; r < n; r++)
                    XE(store)(g + k * n + r * VL, R - k >= VL ? XE(load)(g_rows + r * R + k)
                                                              : XE(load_some)(g_rows + r * R + k, R - k));
        }
        XE(many_gradient)(p, x, n, g, g_tile, x_tile, grad);
        if (p->grad_x) XE(many_input_gradient)(p, first, n, g, g_tile);
    }
    return sum;
}
