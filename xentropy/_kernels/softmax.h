/* Cross-entropy, above all the plain one (labels, no smoothing), and the sigmoid, in vectors. A template: REAL is float
 * or double.
 *
 * The formulas are those of losses.h, one row a lane or one row a loop:
 *     m = max z,  rest = sum exp(z_k - m) without one class at m,  loss = a (log1p(rest) + m - z_y),
 *     g_k = a exp(z_k - m) / (1 + rest),  g_y -= a, which is -a rest / (1 + rest) where z_y = m
 * Logarithms, losses and weights are doubles; a block of rows shares one loop over them.
 */

/* What the loops over a block of rows hand to each other: arrays of `stride` numbers, a whole number of vectors. */
typedef struct {
    double *weight, *rest, *gap, *loss; /* a, rest, m - z_y, loss */
    REAL *label, *scale, *own_scale, *own_shift; /* y; g_k = scale e_k, g_y = own_scale e_y + own_shift */
    XE(exp_end) end;
    REAL tiny; /* gradients of less than that become 0 */
} XE(block);

#define BLOCK_BYTES(stride) ((stride) * (ptrdiff_t)(4 * sizeof(double) + 4 * sizeof(REAL)))

static inline char *XE(carve)(char *scratch, ptrdiff_t stride, XE(block) * b)
{
    b->end = XE(exp_ends)(1), b->tiny = 0;
    b->weight = (double *)scratch;
    b->rest = b->weight + stride, b->gap = b->rest + stride, b->loss = b->gap + stride;
    b->label = (REAL *)(b->loss + stride);
    b->scale = b->label + stride, b->own_scale = b->scale + stride, b->own_shift = b->own_scale + stride;
    return scratch + BLOCK_BYTES(stride);
}

/* A processor takes some hundred cycles for each vector that holds a denormal number. A user's probabilities may be
 * denormal; in the sums of a gradient over rows they are nothing, and a rest that is so small is computed again. */
static inline void XE(no_denormals)(XE(block) * b)
{
    b->end = XE(exp_ends)(0);
    b->tiny = XE_IS_FLOAT ? (REAL)0x1p-100 : (REAL)0x1p-900;
}

static inline void XE(drop_tiny)(REAL *g, ptrdiff_t n, const XE(block) * b)
{
    for (ptrdiff_t r = 0; r < n; r++) g[r] = g[r] < b->tiny && g[r] > -b->tiny ? 0 : g[r];
}

static inline int XE(is_plain)(const xe_target *t)
{
    return t->loss.kind == XE_CROSS_ENTROPY && t->labels && t->smoothing == 0.0;
}

/* Labels and weights of the rows, the weight of the class among them where there is only one; up to the end of the last
 * vector, rows of weight 0. */
static void XE(bind_rows)(const xe_target *t, ptrdiff_t first, ptrdiff_t n, ptrdiff_t padded, const XE(block) * b)
{
    const int32_t *y = t->labels ? t->labels + first : NULL;
    for (ptrdiff_t r = 0; r < n; r++) b->weight[r] = t->scale;
    if (t->sample_weight)
        for (ptrdiff_t r = 0; r < n; r++) b->weight[r] *= t->sample_weight[first + r];
    if (t->class_weight && XE(is_plain)(t))
        for (ptrdiff_t r = 0; r < n; r++) b->weight[r] *= t->class_weight[y[r]];
    for (ptrdiff_t r = 0; r < n; r++) b->label[r] = y ? (REAL)y[r] : 0;
    for (ptrdiff_t r = n; r < padded; r++) b->label[r] = 0, b->weight[r] = 0.0;
}

/* From rest and gap to losses and the numbers that scale the gradient; returns the sum of the losses. */
XE_HOT double XE(finish_rows)(ptrdiff_t padded, const XE(block) * b)
{
    const VD zero = XE_DOUBLE(all)(0.0), tiny = XE_DOUBLE(all)((double)b->tiny);
    VD sum = zero;
    for (ptrdiff_t r = 0; r < padded; r += VLD) {
        const VD a = XE_DOUBLE(load)(b->weight + r), rest = XE_DOUBLE(load)(b->rest + r);
        const VD gap = XE_DOUBLE(load)(b->gap + r);
        const VD inverse = 1.0 / (1.0 + rest), tail = XE_DOUBLE(log1p_with)(rest, inverse), scale = a * inverse;
        /* 0 * inf = 0: a class of weight 0 that is masked costs nothing */
        const VD loss = a * (tail + XE_DOUBLE(where)(XE_DOUBLE(equal)(a, zero), zero, gap));
        const XE_DOUBLE(mask) own = XE_DOUBLE(equal)(gap, zero);
        XE_DOUBLE(store)(b->loss + r, loss);
        XE(narrow)(b->scale + r, scale);
        XE(narrow)(b->own_scale + r, XE_DOUBLE(where)(own, zero, scale));
        const VD shift = XE_DOUBLE(where)(own, -rest * scale, -a);
        XE(narrow)(b->own_shift + r, XE_DOUBLE(where)(XE_DOUBLE(less)(-tiny, shift), zero, shift));
        sum += loss;
    }
    return XE_DOUBLE(sum)(sum);
}

/* float runs out of exponents at exp(-103); a loss is a double and must not become 0 before exp(-745). So the rest of a
 * row that is nearly right is computed again, in doubles: of logits z whose maximum is m. */
XE_HOT double XE(rest_again)(const REAL *z, ptrdiff_t n, double m)
{
    const VD zero = XE_DOUBLE(all)(0.0), one = XE_DOUBLE(all)(1.0);
    VD rest = zero, ties = zero;
    for (ptrdiff_t k = 0; k < n; k += VLD) {
        REAL tail[VLD];
        for (ptrdiff_t i = 0; i < VLD; i++) tail[i] = k + i < n ? z[k + i] : -(REAL)INFINITY;
        const VD x = XE(widen)(k + VLD <= n ? z + k : tail) - m;
        const XE_DOUBLE(mask) top = XE_DOUBLE(equal)(x, zero);
        rest += XE_DOUBLE(where)(top, zero, XE_DOUBLE(vexp)(x));
        ties += XE_DOUBLE(where)(top, one, zero);
    }
    return XE_DOUBLE(sum)(rest) + (XE_DOUBLE(sum)(ties) - 1.0);
}

#define LEAST_REST 1e-30
#define RUNS_OUT(rest) (sizeof(REAL) < sizeof(double) && (rest) < LEAST_REST)

/* ---- rows and columns ----
 *
 * Squares of numbers are turned in registers, HL rows and BAND columns at a time. The last group of a row ends where
 * the row does, and repeats a part of what the one before it did. Rows that are shorter are read and written together
 * with the start of the next, so in their order; the last rows of those are taken number by number. */

#define BAND ((ptrdiff_t)4) /* whole squares */

/* whether HL rows from the r-th on can be: none of the numbers lies past the last row's */
XE_INLINE int XE(in_squares)(ptrdiff_t r, ptrdiff_t n, ptrdiff_t row_stride, ptrdiff_t K)
{
    return r + HL <= n && (r + HL - 1) * row_stride + BAND <= (n - 1) * row_stride + (K < BAND ? K : BAND);
}

XE_INLINE void XE(turn_squares)(H *a)
{
    XE_UNROLL
    for (int i = 0; i < BAND; i += SQUARE) XE(transpose)(a + i);
}

/* rows (n, K), row_stride apart -> columns (K, stride), which repeat the last row up to the end of the last vector;
 * rows of weight 0 become zeros */
XE_HOT void XE(rows_to_columns)(const REAL *rows, ptrdiff_t n, ptrdiff_t row_stride, ptrdiff_t K, const double *weight,
                                REAL *columns, ptrdiff_t stride)
{
    const ptrdiff_t padded = (n + VL - 1) / VL * VL;
    ptrdiff_t r = 0;
    for (; XE(in_squares)(r, n, row_stride, K); r += HL)
        for (ptrdiff_t next = 0; next < K; next += BAND) {
            const ptrdiff_t k = K < BAND || next + BAND <= K ? next : K - BAND;
            const REAL *from = rows + r * row_stride + k;
            REAL *to = columns + k * stride + r;
            H a[BAND];
            XE_UNROLL
            for (int i = 0; i < BAND; i++)
                a[i] = XE(load_rows)(from + i % SQUARE * row_stride + i / SQUARE * SQUARE, row_stride);
            XE(turn_squares)(a);
            XE_UNROLL
            for (int i = 0; i < BAND; i++)
                if (i < K) XE(store_short)(to + i * stride, a[i]);
        }
    for (; r < padded; r++)
        for (ptrdiff_t k = 0; k < K; k++) columns[k * stride + r] = rows[(r < n ? r : n - 1) * row_stride + k];
    for (r = 0; weight && r < padded; r++)
        if (weight[r < n ? r : n - 1] == 0.0)
            for (ptrdiff_t k = 0; k < K; k++) columns[k * stride + r] = 0;
}

/* and back */
XE_HOT void XE(columns_to_rows)(const REAL *columns, ptrdiff_t stride, ptrdiff_t n, ptrdiff_t K, ptrdiff_t row_stride,
                                REAL *rows)
{
    ptrdiff_t r = 0;
    for (; XE(in_squares)(r, n, row_stride, K); r += HL)
        for (ptrdiff_t next = 0; next < K; next += BAND) {
            const ptrdiff_t k = K < BAND || next + BAND <= K ? next : K - BAND;
            const REAL *from = columns + k * stride + r;
            REAL *to = rows + r * row_stride + k;
            H a[BAND];
            XE_UNROLL
            for (int i = 0; i < BAND; i++) a[i] = XE(load_short)(from + (i < K ? i : K - 1) * stride);
            XE(turn_squares)(a);
            XE_UNROLL
            for (int i = 0; i < HL; i++)
                XE_UNROLL
                for (int c = 0; c < BAND; c += SQUARE)
                    XE(store_row)(to + i * row_stride + c, a[c + i % SQUARE], i / SQUARE);
        }
    for (; r < n; r++)
        for (ptrdiff_t k = 0; k < K; k++) rows[r * row_stride + k] = columns[k * stride + r];
}

/* ---- few classes: z and g are (K, stride), a lane is a row ---- */

/* rest_again of VLD rows: where rest runs out */
static void XE(rests_again)(ptrdiff_t n_classes, const REAL *z, ptrdiff_t stride, double *rest)
{
    const VD zero = XE_DOUBLE(all)(0.0), one = XE_DOUBLE(all)(1.0), old = XE_DOUBLE(load)(rest);
    VD m = XE(widen)(z), sum = zero, ties = -one;
    for (ptrdiff_t k = 1; k < n_classes; k++) m = XE_DOUBLE(larger)(XE(widen)(z + k * stride), m);
    for (ptrdiff_t k = 0; k < n_classes; k++) {
        const VD z_k = XE(widen)(z + k * stride);
        const XE_DOUBLE(mask) top = XE_DOUBLE(equal)(z_k, m);
        sum += XE_DOUBLE(where)(top, zero, XE_DOUBLE(vexp)(z_k - m));
        ties += XE_DOUBLE(where)(top, one, zero);
    }
    XE_DOUBLE(store)(rest, XE_DOUBLE(where)(XE_DOUBLE(less)(old, XE_DOUBLE(all)(LEAST_REST)), ties + sum, old));
}

/* the same of a vector of rows */
XE_INLINE void XE(keep_digits)(ptrdiff_t n_classes, const REAL *z, ptrdiff_t stride, V rest, double *wide)
{
    if (sizeof(REAL) == sizeof(double) || !XE(any)(XE(less)(rest, XE(all)((REAL)LEAST_REST)))) return;
    for (ptrdiff_t i = 0; i < VL; i += VLD) XE(rests_again)(n_classes, z + i, stride, wide + i);
}

/* exp(z - m) into e: of n_vectors vectors of rows */
XE_INLINE void XE(exp_of_columns)(ptrdiff_t n_classes, const int n_vectors, const REAL *z, REAL *e, ptrdiff_t stride,
                                  const XE(exp_end) * end)
{
    V m[EXPS], x[EXPS];
    XE_UNROLL
    for (int i = 0; i < n_vectors; i++) m[i] = XE(load)(z + i * VL);
    for (ptrdiff_t k = 1; k < n_classes; k++)
        XE_UNROLL
        for (int i = 0; i < n_vectors; i++) m[i] = XE(larger)(XE(load)(z + k * stride + i * VL), m[i]);
    for (ptrdiff_t k = 0; k < n_classes; k++) {
        XE_UNROLL
        for (int i = 0; i < n_vectors; i++) x[i] = XE(load)(z + k * stride + i * VL) - m[i];
        XE(exps_to)(end, x, n_vectors);
        XE_UNROLL
        for (int i = 0; i < n_vectors; i++) XE(store)(e + k * stride + i * VL, x[i]);
    }
}

/* exp(z - m) into e, and each row's rest and gap */
XE_HOT void XE(exp_columns)(ptrdiff_t n_classes, ptrdiff_t padded, const REAL *z, REAL *e, ptrdiff_t stride,
                            const XE(block) * b)
{
    const XE(exp_end) end = b->end;
    ptrdiff_t r = 0;
    for (; r + EXPS * VL <= padded; r += EXPS * VL) XE(exp_of_columns)(n_classes, EXPS, z + r, e + r, stride, &end);
    for (; r < padded; r += VL) XE(exp_of_columns)(n_classes, 1, z + r, e + r, stride, &end);
    for (r = 0; r < padded; r += VL) {
        const V y = XE(load)(b->label + r);
        V m = XE(load)(z + r), z_y = m, rest = XE(all)(0), ties = XE(all)(START_COUNT), class_k = rest;
        for (ptrdiff_t k = 1; k < n_classes; k++) m = XE(larger)(XE(load)(z + k * stride + r), m);
        for (ptrdiff_t k = 0; k < n_classes; k++) {
            const V z_k = XE(load)(z + k * stride + r);
            const M top = XE(equal)(z_k, m);
            rest += XE(unless)(top, XE(load)(e + k * stride + r));
            ties = XE(count)(ties, top);
            z_y = XE(where)(XE(equal)(y, class_k), z_k, z_y);
            class_k += (REAL)1;
        }
        rest += (ties - (START_COUNT + 1)) + (m - m); /* m - m: NaN where the row has no distribution */
        XE(wide_store)(b->rest + r, rest, 0);
        XE(wide_store)(b->gap + r, m - z_y, 0);
        XE(keep_digits)(n_classes, z + r, stride, rest, b->rest + r);
    }
}

/* e becomes the gradient */
XE_HOT void XE(scale_columns)(ptrdiff_t n_classes, ptrdiff_t padded, REAL *e, ptrdiff_t stride, const XE(block) * b)
{
    const V tiny = XE(all)(b->tiny);
    for (ptrdiff_t r = 0; r < padded; r += VL) {
        const V y = XE(load)(b->label + r), scale = XE(load)(b->scale + r);
        const V own_scale = XE(load)(b->own_scale + r), own_shift = XE(load)(b->own_shift + r);
        V class_k = XE(all)(0);
        for (ptrdiff_t k = 0; k < n_classes; k++) {
            const V e_k = XE(load)(e + k * stride + r), g_k = e_k * scale;
            const V other = XE(unless)(XE(less)(g_k, tiny), g_k);
            XE(store)(e + k * stride + r, XE(where)(XE(equal)(y, class_k), e_k * own_scale + own_shift, other));
            class_k += (REAL)1;
        }
    }
}

/* ---- many classes: a row at a time, a lane is a class ----
 *
 * Vector v of a row of e lies at e + v e_step: rows one after the other, or tiles of one vector of classes. */

/* exp(z - m) into e where it is not NULL, m into top; returns rest */
XE_HOT double XE(exp_wide)(const REAL *z, ptrdiff_t n_classes, REAL *e, ptrdiff_t e_step,
                           const XE(exp_end) * ends, double *top)
{
    enum { SHORT = 16, N = EXPS }; /* vectors that are summed in REAL before they are added to doubles */
    const XE(exp_end) end = *ends;
    V highest = XE(all)(-(REAL)INFINITY);
    ptrdiff_t k = 0;
    for (; k + VL <= n_classes; k += VL) highest = XE(larger)(XE(load)(z + k), highest);
    if (k < n_classes) highest = XE(larger)(XE(load_or)(z + k, n_classes - k, -(REAL)INFINITY), highest);
    const REAL top_z = XE(top)(highest);
    const V m = XE(all)(top_z);

    /* the next rows are fetched while this one is computed with */
    const ptrdiff_t row_bytes = n_classes * (ptrdiff_t)sizeof(REAL);
    const ptrdiff_t ahead = row_bytes < 4096 ? 4096 : row_bytes > 65536 ? 65536 : row_bytes;
    V ties = XE(all)(START_COUNT);
    VD sum = XE_DOUBLE(all)(0.0);
    for (k = 0; k < n_classes;) {
        V rest = XE(all)(0);
        const ptrdiff_t stop = n_classes - k < SHORT * VL ? n_classes : k + SHORT * VL;
        for (; k + N * VL <= stop; k += N * VL, e += e ? N * e_step : 0) {
            V x[N];
            XE_UNROLL
            for (int i = 0; i < N; i++) {
                if (i * sizeof(V) % 64 == 0) XE_PREFETCH((const char *)(z + k + i * VL) + ahead);
                x[i] = XE(load)(z + k + i * VL) - m;
            }
            XE(exps_to)(&end, x, N);
            XE_UNROLL
            for (int i = 0; i < N; i++) {
                const M is_top = XE(equal)(XE(load)(z + k + i * VL), m);
                rest += XE(unless)(is_top, x[i]);
                ties = XE(count)(ties, is_top);
                if (e) XE(store)(e + i * e_step, x[i]);
            }
        }
        for (; k + VL <= stop; k += VL, e += e ? e_step : 0) {
            XE_PREFETCH((const char *)(z + k) + ahead);
            const V z_k = XE(load)(z + k), e_k = XE(exp_to)(&end, z_k - m);
            const M is_top = XE(equal)(z_k, m);
            rest += XE(unless)(is_top, e_k);
            ties = XE(count)(ties, is_top);
            if (e) XE(store)(e, e_k);
        }
        if (k < stop) {
            const V z_k = XE(load_or)(z + k, stop - k, -(REAL)INFINITY), e_k = XE(exp_to)(&end, z_k - m);
            const M is_top = XE(equal)(z_k, m);
            rest += XE(unless)(is_top, e_k);
            ties = XE(count)(ties, is_top);
            if (e) XE(store_some)(e, e_k, stop - k);
            k = stop;
        }
        sum += XE(fold)(rest);
    }
    *top = top_z;
    return XE_DOUBLE(sum)(sum) + ((double)XE(sum)(ties - START_COUNT) - 1.0) + ((double)top_z - (double)top_z);
}

/* e becomes the gradient of row r */
XE_HOT void XE(scale_row)(ptrdiff_t n_classes, REAL *e, ptrdiff_t e_step, ptrdiff_t y, ptrdiff_t r,
                          const XE(block) * b)
{
    REAL *own = e + y / VL * e_step + y % VL;
    const REAL g_y = *own * b->own_scale[r] + b->own_shift[r];
    const V scale = XE(all)(b->scale[r]), tiny = XE(all)(b->tiny);
    ptrdiff_t k = 0;
    if (b->tiny == 0)
        for (; k + VL <= n_classes; k += VL, e += e_step) XE(store)(e, XE(load)(e) * scale);
    for (; k + VL <= n_classes; k += VL, e += e_step) {
        const V g_k = XE(load)(e) * scale;
        XE(store)(e, XE(unless)(XE(less)(g_k, tiny), g_k));
    }
    if (k < n_classes) {
        const V g_k = XE(load_some)(e, n_classes - k) * scale;
        XE(store_some)(e, XE(unless)(XE(less)(g_k, tiny), g_k), n_classes - k);
    }
    *own = g_y;
}

/* ---- cross-entropy against distributions and smoothed labels ----
 *
 * With a_k the target before the row's weight s, A = sum_k a_k, and T and O its parts where z_k = m and elsewhere,
 *     loss = s (A log1p(rest) + sum_k a_k (m - z_k)),
 *     g_k = s (A e_k / (1 + rest) - a_k), which is s ((O + (T - a_k)) - a_k rest) / (1 + rest) where z_k = m:
 * T - a_k is exactly 0 where m is one class's alone. */

/* Few classes: a lane is a row. exp(z - m) into e and a_k into asked, both (K, stride); asked holds the distribution
 * where there is no label. Each row's rest, sum_k a_k (m - z_k), T and O into rest, gap, scale and own_scale. */
XE_HOT void XE(mix_columns)(const xe_target *t, ptrdiff_t padded, const REAL *z, REAL *e, REAL *asked, ptrdiff_t stride,
                            const XE(block) * b)
{
    const V zero = XE(all)(0), one = XE(all)(1), masked = XE(all)(-(REAL)INFINITY);
    const XE(exp_end) end = b->end;
    const V keep = XE(all)((REAL)(1.0 - t->smoothing));
    for (ptrdiff_t r = 0; r < padded; r += VL) {
        const V y = XE(load)(b->label + r);
        V m = masked, n_open = zero;
        for (ptrdiff_t k = 0; k < t->n_classes; k++) {
            const V z_k = XE(load)(z + k * stride + r);
            m = XE(larger)(z_k, m);
            n_open += XE(where)(XE(equal)(z_k, masked), zero, one);
        }
        const V share = XE(all)((REAL)t->smoothing) / XE(larger)(n_open, one);
        V rest = zero, ties = -one, at_top = zero, elsewhere = zero, distance = zero, class_k = zero;
        for (ptrdiff_t k = 0; k < t->n_classes; k++) {
            const V z_k = XE(load)(z + k * stride + r), e_k = XE(exp_to)(&end, z_k - m);
            const M top = XE(equal)(z_k, m);
            V a = t->labels ? XE(where)(XE(equal)(y, class_k), keep, zero) : keep * XE(load)(asked + k * stride + r);
            a += XE(where)(XE(equal)(z_k, masked), zero, share);
            if (t->class_weight) a *= (REAL)t->class_weight[k];
            XE(store)(e + k * stride + r, e_k);
            XE(store)(asked + k * stride + r, a);
            rest += XE(where)(top, zero, e_k);
            ties += XE(where)(top, one, zero);
            at_top += XE(where)(top, a, zero);
            elsewhere += XE(where)(top, zero, a);
            distance += XE(where)(XE(equal)(a, zero), zero, a * (m - z_k)); /* 0 * inf = 0 */
            class_k += one;
        }
        rest += ties + (m - m); /* m - m: NaN where the row has no distribution */
        XE(wide_store)(b->rest + r, rest, 0);
        XE(wide_store)(b->gap + r, distance, 0);
        XE(store)(b->scale + r, at_top);
        XE(store)(b->own_scale + r, elsewhere);
        XE(keep_digits)(t->n_classes, z + r, stride, rest, b->rest + r);
    }
}

/* From these to losses, rest into label and s / (1 + rest) into own_shift; returns the sum of the losses. */
XE_HOT double XE(finish_mixed)(ptrdiff_t padded, const XE(block) * b)
{
    const VD zero = XE_DOUBLE(all)(0.0), tiny = XE_DOUBLE(all)((double)b->tiny);
    VD sum = zero;
    for (ptrdiff_t r = 0; r < padded; r += VLD) {
        const VD s = XE_DOUBLE(load)(b->weight + r), rest = XE_DOUBLE(load)(b->rest + r);
        const VD inverse = 1.0 / (1.0 + rest), tail = XE_DOUBLE(log1p_with)(rest, inverse);
        const VD total = XE(widen)(b->scale + r) + XE(widen)(b->own_scale + r);
        const VD asked = s * (tail * total + XE_DOUBLE(load)(b->gap + r));
        /* 0 * inf = 0: rows that only fill the last vector repeat one that may cost that */
        const VD loss = XE_DOUBLE(where)(XE_DOUBLE(equal)(s, zero), zero, asked);
        XE_DOUBLE(store)(b->loss + r, loss);
        XE(narrow)(b->own_shift + r, s * inverse);
        XE(narrow)(b->label + r, XE_DOUBLE(where)(XE_DOUBLE(less)(rest, tiny), zero, rest));
        sum += loss;
    }
    return XE_DOUBLE(sum)(sum);
}

/* e becomes the gradient: s / (1 + rest) times A e_k - a_k (1 + rest), or (O + (T - a_k)) - a_k rest */
XE_HOT void XE(scale_mixed)(ptrdiff_t n_classes, ptrdiff_t padded, const REAL *z, REAL *e, const REAL *asked,
                            ptrdiff_t stride, const XE(block) * b)
{
    const V zero = XE(all)(0), tiny = XE(all)(b->tiny);
    for (ptrdiff_t r = 0; r < padded; r += VL) {
        const V at_top = XE(load)(b->scale + r), elsewhere = XE(load)(b->own_scale + r);
        const V rest = XE(load)(b->label + r), scale = XE(load)(b->own_shift + r);
        const V total = at_top + elsewhere, whole = (REAL)1 + rest;
        V m = XE(load)(z + r);
        for (ptrdiff_t k = 1; k < n_classes; k++) m = XE(larger)(XE(load)(z + k * stride + r), m);
        for (ptrdiff_t k = 0; k < n_classes; k++) {
            const V a = XE(load)(asked + k * stride + r), e_k = XE(load)(e + k * stride + r);
            const V g = scale * XE(where)(XE(equal)(XE(load)(z + k * stride + r), m),
                                          (elsewhere + (at_top - a)) - a * rest, e_k * total - a * whole);
            XE(store)(e + k * stride + r, XE(where)(XE(less)(XE(larger)(g, -g), tiny), zero, g));
        }
    }
}

/* Many classes: a row at a time, a lane is a class. */
typedef struct {
    const REAL *z, *y;         /* y NULL: one at the label */
    const double *w;           /* of the classes, or NULL */
    ptrdiff_t width, n, label; /* numbers in a row of z, classes: z past them is -inf */
    REAL m, keep, share;
    double rest, at_top, elsewhere, distance; /* T, O, sum_k a_k (m - z_k) */
} XE(mixed);

/* a_k of a vector of logits from class k on */
XE_INLINE V XE(asked_of)(const XE(mixed) * q, ptrdiff_t k, V z_k)
{
    const ptrdiff_t n = q->n - k;
    V a = XE(where)(XE(equal)(z_k, XE(all)(-(REAL)INFINITY)), XE(all)(0), XE(all)(q->share));
    if (q->y) {
        a += XE(all)(q->keep) * (n >= VL ? XE(load)(q->y + k) : XE(load_some)(q->y + k, n));
    } else if (q->label >= k && q->label < k + VL) {
        REAL y[VL];
        for (ptrdiff_t i = 0; i < VL; i++) y[i] = q->label - k == i ? 1 : 0;
        a += XE(all)(q->keep) * XE(load)(y);
    }
    if (q->w) {
        REAL w[VL];
        for (ptrdiff_t i = 0; i < VL; i++) w[i] = i < n ? (REAL)q->w[k + i] : 0;
        a *= XE(load)(w);
    }
    return a;
}

XE_INLINE V XE(logits_from)(const XE(mixed) * q, ptrdiff_t k)
{
    return q->width - k >= VL ? XE(load)(q->z + k) : XE(load_or)(q->z + k, q->width - k, -(REAL)INFINITY);
}

/* T, O and the distance */
XE_HOT void XE(mixed_sums)(XE(mixed) * q)
{
    enum { SHORT = 16 };
    const V zero = XE(all)(0), m = XE(all)(q->m);
    VD at_top = XE_DOUBLE(all)(0.0), elsewhere = at_top, distance = at_top;
    for (ptrdiff_t k = 0; k < q->n;) {
        V t = zero, o = zero, d = zero;
        const ptrdiff_t stop = q->n - k < SHORT * VL ? q->n : k + SHORT * VL;
        for (; k < stop; k += VL) {
            const V z_k = XE(logits_from)(q, k), a = XE(asked_of)(q, k, z_k);
            const M top = XE(equal)(z_k, m);
            t += XE(where)(top, a, zero);
            o += XE(where)(top, zero, a);
            d += XE(where)(XE(equal)(a, zero), zero, a * (m - z_k)); /* 0 * inf = 0 */
        }
        at_top += XE(fold)(t), elsewhere += XE(fold)(o), distance += XE(fold)(d);
    }
    q->at_top = XE_DOUBLE(sum)(at_top), q->elsewhere = XE_DOUBLE(sum)(elsewhere);
    q->distance = XE_DOUBLE(sum)(distance);
}

/* e becomes the gradient, which is 0 where it is less than tiny; s and 1 / (1 + rest) */
XE_HOT void XE(mixed_gradient)(const XE(mixed) * q, double s, double inverse, REAL tiny, REAL *e, ptrdiff_t e_step)
{
    const double total = q->at_top + q->elsewhere;
    const V m = XE(all)(q->m), scale = XE(all)((REAL)(s * inverse * total)), s_k = XE(all)((REAL)s);
    const V top_scale = XE(all)((REAL)(s * inverse)), rest = XE(all)((REAL)(q->rest < (double)tiny ? 0.0 : q->rest));
    const V at_top = XE(all)((REAL)q->at_top), elsewhere = XE(all)((REAL)q->elsewhere);
    for (ptrdiff_t k = 0; k < q->width; k += VL, e += e_step) {
        const ptrdiff_t n = q->width - k;
        const V z_k = XE(logits_from)(q, k), a = XE(asked_of)(q, k, z_k);
        const V e_k = n >= VL ? XE(load)(e) : XE(load_some)(e, n);
        const V g_top = top_scale * ((elsewhere + (at_top - a)) - a * rest);
        const V g = XE(where)(XE(equal)(z_k, m), g_top, e_k * scale - s_k * a);
        const V g_k = XE(where)(XE(less)(XE(larger)(g, -g), XE(all)(tiny)), XE(all)(0), g);
        if (n >= VL)
            XE(store)(e, g_k);
        else
            XE(store_some)(e, g_k, n);
    }
}

/* ---- cross-entropy, whatever the target ---- */

#define FEW_CLASSES 24 /* up to here, a lane is a row */
#define LOGIT_ROWS 64  /* rows of a user's logits that are worked on at a time */

/* Rows of few classes, whose logits z are (K, stride): their losses into b. Where the gradient is wanted, e becomes it,
 * which is scratch else; so is asked, of the same shape. Returns the sum of the losses. */
static double XE(column_losses)(const xe_target *t, ptrdiff_t first, ptrdiff_t n, const REAL *z, REAL *e, REAL *asked,
                                ptrdiff_t stride, int wanted, const XE(block) * b)
{
    const ptrdiff_t K = t->n_classes, padded = (n + VL - 1) / VL * VL;
    XE(bind_rows)(t, first, n, padded, b);
    if (XE(is_plain)(t)) {
        XE(exp_columns)(K, padded, z, e, stride, b);
        const double sum = XE(finish_rows)(padded, b);
        if (wanted) XE(scale_columns)(K, padded, e, stride, b);
        return sum;
    }
    if (!t->labels)
        XE(rows_to_columns)((const REAL *)t->distribution + first * K, n, K, K,
                            t->sample_weight ? t->sample_weight + first : NULL, asked, stride);
    XE(mix_columns)(t, padded, z, e, asked, stride, b);
    const double sum = XE(finish_mixed)(padded, b);
    if (wanted) XE(scale_mixed)(K, padded, z, e, asked, stride, b);
    return sum;
}

/* A row of logits before it is compared with a distribution or a smoothed label, row i of the target */
static XE(mixed) XE(mix_row)(const xe_target *t, ptrdiff_t i, const REAL *z, ptrdiff_t width, double rest, double top)
{
    XE(mixed) q = {.z = z, .w = t->class_weight, .width = width, .n = t->n_classes, .m = (REAL)top, .rest = rest,
                   .keep = (REAL)(1.0 - t->smoothing), .share = (REAL)XE(smoothing_share)(t, z)};
    if (t->labels)
        q.label = t->labels[i];
    else
        q.y = (const REAL *)t->distribution + i * t->n_classes;
    XE(mixed_sums)(&q);
    return q;
}

/* Rows of many classes: row r of z lies at z + r z_stride and has `width` numbers, those past the K-th being -inf; its
 * gradient, where e is not NULL, at e + r e_row, vectors e_step apart. z is not e. Losses into b. */
static double XE(row_losses)(const xe_target *t, ptrdiff_t first, ptrdiff_t n, const REAL *z, ptrdiff_t z_stride,
                             ptrdiff_t width, REAL *e, ptrdiff_t e_row, ptrdiff_t e_step, const XE(block) * b)
{
    enum { N = 16 };
    const ptrdiff_t padded = (n + VL - 1) / VL * VL;
    const int plain = XE(is_plain)(t);
    double sum = 0.0;
    XE(bind_rows)(t, first, n, padded, b);
    for (ptrdiff_t r = n; r < padded; r++) b->rest[r] = b->gap[r] = 0.0;
    for (ptrdiff_t done = 0; done < n; done += plain ? n : N) {
        const ptrdiff_t stop = plain || done + N > n ? n : done + N;
        XE(mixed) mixed[N];
        for (ptrdiff_t r = done; r < stop; r++) {
            const REAL *z_r = z + r * z_stride;
            double top;
            b->rest[r] = b->gap[r] = 0.0;
            if (t->sample_weight && t->sample_weight[first + r] == 0.0) continue;
            const double rest = XE(exp_wide)(z_r, width, e ? e + r * e_row : NULL, e_step, &b->end, &top);
            b->rest[r] = RUNS_OUT(rest) ? XE(rest_again)(z_r, width, top) : rest;
            if (plain)
                b->gap[r] = top - (double)z_r[t->labels[first + r]];
            else
                mixed[r - done] = XE(mix_row)(t, first + r, z_r, width, b->rest[r], top);
        }
        if (plain) {
            sum = XE(finish_rows)(padded, b);
        } else {
            double tail[N], inverse[N], rest[N] = {0};
            memcpy(rest, b->rest + done, (size_t)(stop - done) * sizeof(double));
            for (ptrdiff_t r = 0; r < N; r += VLD) {
                const VD rest_r = XE_DOUBLE(load)(rest + r), inverse_r = 1.0 / (1.0 + rest_r);
                XE_DOUBLE(store)(tail + r, XE_DOUBLE(log1p_with)(rest_r, inverse_r));
                XE_DOUBLE(store)(inverse + r, inverse_r);
            }
            for (ptrdiff_t r = done; r < stop; r++) {
                const XE(mixed) *q = mixed + (r - done);
                b->loss[r] = 0.0;
                if (t->sample_weight && t->sample_weight[first + r] == 0.0) continue;
                b->loss[r] = b->weight[r] * (tail[r - done] * (q->at_top + q->elsewhere) + q->distance);
                sum += b->loss[r];
                if (e) XE(mixed_gradient)(q, b->weight[r], inverse[r - done], b->tiny, e + r * e_row, e_step);
            }
        }
        for (ptrdiff_t r = done; e && r < stop; r++) {
            REAL *e_r = e + r * e_row;
            if (t->sample_weight && t->sample_weight[first + r] == 0.0)
                for (ptrdiff_t k = 0; k < width; k += VL, e_r += e_step) XE(store_some)(e_r, XE(all)(0), width - k);
            else if (plain)
                XE(scale_row)(width, e_r, e_step, t->labels[first + r], r, b);
        }
    }
    return sum;
}

/* ---- what the seam asks for ---- */

/* Rows of a user's logits (n, K): whatever the loss and the target. Ignored rows are read as zeros, and get exact
 * zeros. */
static double XE(softmax_rows)(XE_ROWS_ARGS(REAL))
{
    enum { N = LOGIT_ROWS };
    _Alignas(64) char scratch[BLOCK_BYTES(N)];
    REAL columns[FEW_CLASSES * N], exps[FEW_CLASSES * N], asked[FEW_CLASSES * N];
    const ptrdiff_t K = target->n_classes;
    const double *s = target->sample_weight;
    if (target->loss.kind != XE_CROSS_ENTROPY)
        return XE(xe_softmax_rows)(target, first, n_rows, z, grad, row_loss);
    XE(block) b;
    XE(carve)(scratch, N, &b);
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n_rows; done += N) {
        const ptrdiff_t n = n_rows - done < N ? n_rows - done : N, i = first + done;
        const REAL *zb = z + done * K;
        REAL *gb = grad ? grad + done * K : NULL;
        if (K <= FEW_CLASSES) {
            XE(rows_to_columns)(zb, n, K, K, s ? s + i : NULL, columns, N);
            sum += XE(column_losses)(target, i, n, columns, exps, asked, N, gb != NULL, &b);
            if (gb) XE(columns_to_rows)(exps, N, n, K, K, gb);
        } else {
            sum += XE(row_losses)(target, i, n, zb, K, K, gb, K, VL, &b);
        }
        if (row_loss) memcpy(row_loss + done, b.loss, (size_t)n * sizeof(double));
    }
    return sum;
}

/* Two classes, one logit z for class 1, q = exp(-|z|):
 *     L = s (a_1 softplus(-z) + a_0 softplus(z)),   dL/dz = s (a_0 sigmoid(z) - a_1 sigmoid(-z)),
 *     softplus(z) = log1p(q) + max(z, 0),           sigmoid(-|z|) = q / (1 + q)
 * (the form sigmoid(z) - y is 0 at z = 20 in float32). All but the weight s and the losses is REAL. */
typedef struct {
    const REAL *z, *a1, *a0; /* a0 NULL: 1 - a1 */
    const double *weight;    /* s, or NULL: `scale` */
    const REAL *weight_real; /* the same numbers */
    double scale;
} XE(two_classes);

/* float runs out of exponents: where q is so small, log1p(q) and q / (1 + q) are q, of which a loss keeps all that a
 * double can */
XE_HOT void XE(far_from_zero)(const REAL *z, const REAL *a1, const REAL *a0, double *loss, REAL *g)
{
    const VD zero = XE_DOUBLE(all)(0.0);
    for (ptrdiff_t i = 0; i < EXPS * VL; i += VLD) {
        const VD z_i = XE(widen)(z + i), l1 = XE(widen)(a1 + i), l0 = XE(widen)(a0 + i);
        const VD least = XE_DOUBLE(smaller)(-z_i, z_i), q = XE_DOUBLE(vexp)(least);
        const XE_DOUBLE(mask) far = XE_DOUBLE(less)(q, XE_DOUBLE(all)(LEAST_REST));
        const XE_DOUBLE(mask) negative = XE_DOUBLE(less)(z_i, zero);
        const VD right = XE_DOUBLE(where)(negative, l0, l1), wrong = XE_DOUBLE(where)(negative, l1, l0);
        const VD far_loss = right * q + XE_DOUBLE(unless)(XE_DOUBLE(equal)(wrong, zero), wrong * (q - least));
        const VD slope = wrong - right * q; /* from the right class on */
        XE_DOUBLE(store)(loss + i, XE_DOUBLE(where)(far, far_loss, XE_DOUBLE(load)(loss + i)));
        XE(narrow)(g + i, XE_DOUBLE(where)(far, XE_DOUBLE(where)(negative, -slope, slope), XE(widen)(g + i)));
    }
}

/* of rows r..r + EXPS VL: as many vectors as exp takes at a time. Returns sums of their losses. */
XE_INLINE VD XE(sigmoid_vectors)(const XE(two_classes) * t, ptrdiff_t r, REAL *g, double *loss)
{
    static const REAL poly[] = {XE_COEFFICIENTS(LOG1P_POLY)};
    const XE(exp_end) end = XE(exp_ends)(!XE_IS_FLOAT);
    const V zero = XE(all)(0);
    V q[EXPS], large[EXPS], s[EXPS], square[EXPS], series[EXPS];
    double losses[EXPS * VL];
    XE_UNROLL
    for (int i = 0; i < EXPS; i++) {
        const V z = XE(load)(t->z + r + i * VL);
        q[i] = XE(smaller)(-z, z);
    }
    XE(exps_to)(&end, q, EXPS);
    XE_UNROLL
    for (int i = 0; i < EXPS; i++) {
        /* one division for 1 / (1 + q) and for s = q / (2 + q): log1p(q) = log((1 + s) / (1 - s)) */
        const V u = q[i] + (REAL)1, v = q[i] + (REAL)2, inverse = (REAL)1 / (u * v);
        large[i] = v * inverse, s[i] = q[i] * (u * inverse);
        const V square_root = XE(larger)(XE(all)((REAL)0x1p-40), s[i]); /* next to 2, not left to underflow */
        square[i] = square_root * square_root, series[i] = XE(all)(poly[0]);
    }
    XE_UNROLL
    for (size_t j = 1; j < sizeof poly / sizeof *poly; j++)
        XE_UNROLL
        for (int i = 0; i < EXPS; i++) series[i] = series[i] * square[i] + poly[j];
    M far = XE(less)(zero, zero);
    XE_UNROLL
    for (int i = 0; i < EXPS; i++) {
        const V z = XE(load)(t->z + r + i * VL), a1 = XE(load)(t->a1 + r + i * VL);
        const V a0 = t->a0 ? XE(load)(t->a0 + r + i * VL) : (REAL)1 - a1;
        const V tail = s[i] * (series[i] * square[i] + (REAL)2), small = q[i] * large[i];
        const M negative = XE(less)(z, zero);
        /* 0 * inf = 0 */
        const V up = XE(unless)(XE(equal)(a0, zero), XE(larger)(zero, z));
        const V down = XE(unless)(XE(equal)(a1, zero), XE(larger)(zero, -z));
        const V p0 = XE(where)(negative, large[i], small), p1 = XE(where)(negative, small, large[i]);
        XE(store)(g + i * VL, a0 * p1 - a1 * p0);
        XE(wide_store)(losses + i * VL, (a0 + a1) * tail + (a0 * up + a1 * down), 0);
        far |= XE(less)(q[i], XE(all)((REAL)LEAST_REST));
    }
    if (XE_IS_FLOAT && XE(any)(far)) {
        REAL a0[EXPS * VL];
        for (ptrdiff_t i = 0; i < EXPS * VL; i++) a0[i] = t->a0 ? t->a0[r + i] : 1 - t->a1[r + i];
        XE(far_from_zero)(t->z + r, t->a1 + r, a0, losses, g);
    }
    XE_UNROLL
    for (int i = 0; i < EXPS; i++) {
        const V weight = t->weight ? XE(load)(t->weight_real + r + i * VL) : XE(all)((REAL)t->scale);
        XE(store)(g + i * VL, XE(load)(g + i * VL) * weight);
    }
    VD sum = XE_DOUBLE(all)(0.0);
    XE_UNROLL
    for (ptrdiff_t i = 0; i < EXPS * VL; i += VLD) {
        const VD weight = t->weight ? XE_DOUBLE(load)(t->weight + r + i) : XE_DOUBLE(all)(t->scale);
        const VD l = XE_DOUBLE(load)(losses + i) * weight;
        if (loss) XE_DOUBLE(store)(loss + i, l);
        sum += l;
    }
    return sum;
}

/* of n rows; g and loss may be NULL */
XE_HOT double XE(sigmoid_losses)(const XE(two_classes) * rows, ptrdiff_t n, REAL *g, double *loss)
{
    enum { N = EXPS * VL };
    const XE(two_classes) t = *rows;
    REAL unused[N];
    VD sum = XE_DOUBLE(all)(0.0);
    ptrdiff_t r = 0;
    for (; r + N <= n; r += N) sum += XE(sigmoid_vectors)(&t, r, g ? g + r : unused, loss ? loss + r : NULL);
    if (r < n) {
        const size_t m = (size_t)(n - r);
        REAL z[N] = {0}, a1[N] = {0}, a0[N] = {0}, weight_real[N] = {0}, last_g[N];
        double weight[N] = {0}, last_loss[N];
        for (size_t i = 0; i < m; i++) {
            z[i] = t.z[r + i], a1[i] = t.a1[r + i], a0[i] = t.a0 ? t.a0[r + i] : 1 - a1[i];
            weight[i] = t.weight ? t.weight[r + i] : t.scale, weight_real[i] = (REAL)weight[i];
        }
        const XE(two_classes) last = {z, a1, a0, weight, weight_real, 0.0};
        sum += XE(sigmoid_vectors)(&last, 0, last_g, last_loss);
        if (g) memcpy(g + r, last_g, m * sizeof(REAL));
        if (loss) memcpy(loss + r, last_loss, m * sizeof(double));
    }
    return XE_DOUBLE(sum)(sum);
}

/* A block of what is asked for, where it is not what the caller has. */
typedef struct {
    REAL z[LOGIT_ROWS], a1[LOGIT_ROWS], a0[LOGIT_ROWS], weight_real[LOGIT_ROWS];
    double weight[LOGIT_ROWS];
} XE(two_block);

/* the weights of n rows, rows i..i + n of a target in runs of `run`; what a row of weight 0 holds is not looked at */
static void XE(weigh_two)(XE(two_classes) * t, const double *s, ptrdiff_t i, ptrdiff_t run, ptrdiff_t n,
                          XE(two_block) * b)
{
    for (ptrdiff_t r = 0; r < n; r++) b->weight[r] = t->scale * (run == 1 ? s[i + r] : s[(i + r) / run]);
    for (ptrdiff_t r = 0; r < n; r++) b->z[r] = b->weight[r] == 0.0 ? 0 : t->z[r];
    for (ptrdiff_t r = 0; r < n; r++) b->a1[r] = b->weight[r] == 0.0 ? 0 : t->a1[r];
    for (ptrdiff_t r = 0; t->a0 && r < n; r++) b->a0[r] = b->weight[r] == 0.0 ? 0 : t->a0[r];
    for (ptrdiff_t r = 0; r < n; r++) b->weight_real[r] = (REAL)b->weight[r];
    t->z = b->z, t->a1 = b->a1, t->weight = b->weight, t->weight_real = b->weight_real;
}

static double XE(sigmoid_rows)(XE_ROWS_ARGS(REAL))
{
    enum { N = LOGIT_ROWS };
    const double keep = 1.0 - target->smoothing, share = 0.5 * target->smoothing, *w = target->class_weight;
    const double w0 = w ? target->scale * w[0] : 1.0, w1 = w ? target->scale * w[1] : 1.0;
    if (target->loss.kind != XE_CROSS_ENTROPY)
        return XE(xe_sigmoid_rows)(target, first, n_rows, z, grad, row_loss);
    XE(two_block) b;
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n_rows; done += N) {
        const ptrdiff_t n = n_rows - done < N ? n_rows - done : N, i = first + done;
        XE(two_classes) t = {.z = z + done, .a1 = b.a1, .scale = w ? 1.0 : target->scale};
        if (target->labels) {
            const int32_t *y = target->labels + i;
            for (ptrdiff_t r = 0; r < n; r++) b.a1[r] = (REAL)y[r], b.a0[r] = (REAL)(1 - y[r]);
        } else {
            const REAL *y = (const REAL *)target->distribution + 2 * i;
            for (ptrdiff_t r = 0; r < n; r++) b.a1[r] = y[2 * r + 1], b.a0[r] = y[2 * r];
            t.a0 = b.a0;
        }
        if (w || target->smoothing != 0.0) {
            for (ptrdiff_t r = 0; r < n; r++) b.a1[r] = (REAL)((keep * (double)b.a1[r] + share) * w1);
            for (ptrdiff_t r = 0; r < n; r++) b.a0[r] = (REAL)((keep * (double)b.a0[r] + share) * w0);
            t.a0 = b.a0;
        }
        if (target->sample_weight) XE(weigh_two)(&t, target->sample_weight, i, 1, n, &b);
        sum += XE(sigmoid_losses)(&t, n, grad ? grad + done : NULL, row_loss ? row_loss + done : NULL);
    }
    return sum;
}

static double XE(binary)(XE_BINARY_ARGS(REAL))
{
    enum { N = LOGIT_ROWS };
    const double keep = 1.0 - target->smoothing, share = 0.5 * target->smoothing, *c = target->pos_weight;
    const REAL *y = (const REAL *)target->y + first;
    if (target->loss.kind != XE_CROSS_ENTROPY) return XE(xe_binary)(target, first, n, z, grad, element_loss);
    XE(two_block) b;
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n; done += N) {
        const ptrdiff_t n_now = n - done < N ? n - done : N, i = first + done;
        XE(two_classes) t = {.z = z + done, .a1 = y + done, .scale = target->scale};
        if (c || target->smoothing != 0.0) {
            for (ptrdiff_t r = 0; r < n_now; r++) {
                b.a1[r] = (REAL)(keep * (double)y[done + r] + share);
                /* from y itself: 1 - t would round away a target that is nearly 1 */
                b.a0[r] = (REAL)(keep * (1.0 - (double)y[done + r]) + share);
            }
            if (c)
                for (ptrdiff_t r = 0, k = i % target->period; r < n_now; r++, k = k + 1 == target->period ? 0 : k + 1)
                    b.a1[r] = (REAL)((double)b.a1[r] * c[k]);
            t.a1 = b.a1, t.a0 = b.a0;
        }
        if (target->sample_weight) XE(weigh_two)(&t, target->sample_weight, i, target->run, n_now, &b);
        sum += XE(sigmoid_losses)(&t, n_now, grad ? grad + done : NULL, element_loss ? element_loss + done : NULL);
    }
    return sum;
}
