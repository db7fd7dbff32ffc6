/* Cross-entropy, above all the plain one (labels, no smoothing), and the sigmoid, in vectors. A template: REAL is float or
 * double.
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
    REAL lowest, tiny; /* exps of less than lowest, and gradients of less than tiny, become 0 */
} XE(block);

#define BLOCK_BYTES(stride) ((stride) * (ptrdiff_t)(4 * sizeof(double) + 4 * sizeof(REAL)))

static inline char *XE(carve)(char *scratch, ptrdiff_t stride, XE(block) * b)
{
    b->lowest = (REAL)EXP_LOW, b->tiny = 0;
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
    b->lowest = XE_IS_FLOAT ? (REAL)-87 : (REAL)-708;
    b->tiny = XE_IS_FLOAT ? (REAL)0x1p-100 : (REAL)0x1p-900;
}

static inline void XE(drop_tiny)(REAL *g, ptrdiff_t n, const XE(block) * b)
{
    for (ptrdiff_t r = 0; r < n; r++) g[r] = g[r] < b->tiny && g[r] > -b->tiny ? 0 : g[r];
}

/* Labels and weights of the rows; up to the end of the last vector, rows of weight 0. */
static void XE(bind_rows)(const xe_target *t, ptrdiff_t first, ptrdiff_t n, ptrdiff_t padded, const XE(block) * b)
{
    const int32_t *y = t->labels + first;
    for (ptrdiff_t r = 0; r < n; r++) b->label[r] = (REAL)y[r], b->weight[r] = t->scale;
    if (t->sample_weight)
        for (ptrdiff_t r = 0; r < n; r++) b->weight[r] *= t->sample_weight[first + r];
    if (t->class_weight)
        for (ptrdiff_t r = 0; r < n; r++) b->weight[r] *= t->class_weight[y[r]];
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

/* exp(z - m) into e, and each row's rest and gap */
XE_HOT void XE(exp_columns)(ptrdiff_t n_classes, ptrdiff_t padded, const REAL *z, REAL *e, ptrdiff_t stride,
                            const XE(block) * b)
{
    const V zero = XE(all)(0), one = XE(all)(1), lowest = XE(all)(b->lowest);
    for (ptrdiff_t r = 0; r < padded; r += VL) {
        V m = XE(load)(z + r);
        for (ptrdiff_t k = 1; k < n_classes; k++) m = XE(larger)(XE(load)(z + k * stride + r), m);
        const V y = XE(load)(b->label + r);
        V z_y = m, rest = zero, ties = -one, class_k = zero;
        for (ptrdiff_t k = 0; k < n_classes; k++) {
            const V z_k = XE(load)(z + k * stride + r), e_k = XE(exp_above)(lowest, z_k - m);
            const M top = XE(equal)(z_k, m);
            XE(store)(e + k * stride + r, e_k);
            rest += XE(where)(top, zero, e_k);
            ties += XE(where)(top, one, zero);
            z_y = XE(where)(XE(equal)(y, class_k), z_k, z_y);
            class_k += one;
        }
        rest += ties + (m - m); /* m - m: NaN where the row has no distribution */
        XE(wide_store)(b->rest + r, rest, 0);
        XE(wide_store)(b->gap + r, m - z_y, 0);
        if (sizeof(REAL) < sizeof(double))
            for (ptrdiff_t i = r; i < r + VL; i += VLD) {
                int any = 0;
                for (ptrdiff_t l = i; l < i + VLD; l++) any |= RUNS_OUT(b->rest[l]);
                if (any) XE(rests_again)(n_classes, z + i, stride, b->rest + i);
            }
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
            const V other = XE(where)(XE(less)(g_k, tiny), XE(all)(0), g_k);
            XE(store)(e + k * stride + r, XE(where)(XE(equal)(y, class_k), e_k * own_scale + own_shift, other));
            class_k += (REAL)1;
        }
    }
}

/* ---- many classes: a row at a time, a lane is a class ----
 *
 * Vector v of a row of e lies at e + v e_step: rows one after the other, or tiles of one vector of classes. */

/* exp(z - m) into e where it is not NULL, m into top; returns rest */
XE_HOT double XE(exp_wide)(const REAL *z, ptrdiff_t n_classes, REAL *e, ptrdiff_t e_step, REAL lowest, double *top)
{
    enum { SHORT = 16 }; /* vectors that are summed in REAL before they are added to doubles */
    const V zero = XE(all)(0), one = XE(all)(1), low = XE(all)(lowest);
    V highest = XE(all)(-(REAL)INFINITY);
    ptrdiff_t k = 0;
    for (; k + VL <= n_classes; k += VL) highest = XE(larger)(XE(load)(z + k), highest);
    if (k < n_classes) highest = XE(larger)(XE(load_or)(z + k, n_classes - k, -(REAL)INFINITY), highest);
    const REAL top_z = XE(top)(highest);
    const V m = XE(all)(top_z);

    /* the next rows are fetched while this one is computed with */
    const ptrdiff_t row_bytes = n_classes * (ptrdiff_t)sizeof(REAL);
    const ptrdiff_t ahead = row_bytes < 4096 ? 4096 : row_bytes > 65536 ? 65536 : row_bytes;
    V ties = zero;
    VD sum = XE_DOUBLE(all)(0.0);
    for (k = 0; k < n_classes;) {
        V rest = zero;
        const ptrdiff_t stop = n_classes - k < SHORT * VL ? n_classes : k + SHORT * VL;
        for (; k + VL <= stop; k += VL, e += e ? e_step : 0) {
            XE_PREFETCH((const char *)(z + k) + ahead);
            const V z_k = XE(load)(z + k), e_k = XE(exp_above)(low, z_k - m);
            const M is_top = XE(equal)(z_k, m);
            rest += XE(where)(is_top, zero, e_k);
            ties += XE(where)(is_top, one, zero);
            if (e) XE(store)(e, e_k);
        }
        if (k < stop) {
            const V z_k = XE(load_or)(z + k, stop - k, -(REAL)INFINITY), e_k = XE(exp_above)(low, z_k - m);
            const M is_top = XE(equal)(z_k, m);
            rest += XE(where)(is_top, zero, e_k);
            ties += XE(where)(is_top, one, zero);
            if (e) XE(store_some)(e, e_k, stop - k);
            k = stop;
        }
        sum += XE(fold)(rest);
    }
    *top = top_z;
    return XE_DOUBLE(sum)(sum) + ((double)XE(sum)(ties) - 1.0) + ((double)top_z - (double)top_z);
}

/* exp(z - m) into e, rest and gap of row r into b; e is not z */
static void XE(begin_row)(const REAL *z, ptrdiff_t n_classes, REAL *e, ptrdiff_t e_step, ptrdiff_t y, ptrdiff_t r,
                          const XE(block) * b)
{
    double top, rest = XE(exp_wide)(z, n_classes, e, e_step, b->lowest, &top);
    b->rest[r] = RUNS_OUT(rest) ? XE(rest_again)(z, n_classes, top) : rest;
    b->gap[r] = top - (double)z[y];
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
        XE(store)(e, XE(where)(XE(less)(g_k, tiny), XE(all)(0), g_k));
    }
    if (k < n_classes) {
        const V g_k = XE(load_some)(e, n_classes - k) * scale;
        XE(store_some)(e, XE(where)(XE(less)(g_k, tiny), XE(all)(0), g_k), n_classes - k);
    }
    *own = g_y;
}

/* ---- what the seam asks for ---- */

static inline int XE(is_plain)(const xe_target *t)
{
    return t->loss.kind == XE_CROSS_ENTROPY && t->labels && t->smoothing == 0.0;
}

#define FEW_CLASSES 24 /* up to here, a lane is a row */
#define LOGIT_ROWS 64  /* rows of a user's logits that are worked on at a time */

/* Rows of a user's logits (n, K). Ignored rows are read as zeros, and get exact zeros. */
static double XE(plain_rows)(XE_ROWS_ARGS(REAL))
{
    enum { N = LOGIT_ROWS };
    _Alignas(64) char scratch[BLOCK_BYTES(N)];
    REAL columns[FEW_CLASSES * N], exps[FEW_CLASSES * N];
    const ptrdiff_t n_classes = target->n_classes;
    const double *s = target->sample_weight;
    XE(block) b;
    XE(carve)(scratch, N, &b);
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n_rows; done += N) {
        const ptrdiff_t n = n_rows - done < N ? n_rows - done : N, padded = (n + VL - 1) / VL * VL, i = first + done;
        const REAL *zb = z + done * n_classes;
        REAL *gb = grad ? grad + done * n_classes : NULL;
        XE(bind_rows)(target, i, n, padded, &b);
        if (n_classes <= FEW_CLASSES) {
            for (ptrdiff_t r = 0; r < padded; r++)
                for (ptrdiff_t k = 0; k < n_classes; k++)
                    columns[k * N + r] = r < n && !(s && s[i + r] == 0.0) ? zb[r * n_classes + k] : 0;
            XE(exp_columns)(n_classes, padded, columns, exps, N, &b);
        } else {
            for (ptrdiff_t r = 0; r < n; r++) {
                const REAL *zr = zb + r * n_classes;
                b.rest[r] = b.gap[r] = 0.0;
                if (s && s[i + r] == 0.0) continue;
                XE(begin_row)(zr, n_classes, gb ? gb + r * n_classes : NULL, VL, target->labels[i + r], r, &b);
            }
            for (ptrdiff_t r = n; r < padded; r++) b.rest[r] = b.gap[r] = 0.0;
        }
        sum += XE(finish_rows)(padded, &b);
        if (row_loss) memcpy(row_loss + done, b.loss, (size_t)n * sizeof(double));
        if (!gb) continue;
        if (n_classes <= FEW_CLASSES) {
            XE(scale_columns)(n_classes, padded, exps, N, &b);
            for (ptrdiff_t r = 0; r < n; r++)
                for (ptrdiff_t k = 0; k < n_classes; k++) gb[r * n_classes + k] = exps[k * N + r];
        } else {
            for (ptrdiff_t r = 0; r < n; r++) {
                if (s && s[i + r] == 0.0)
                    memset(gb + r * n_classes, 0, (size_t)n_classes * sizeof(REAL));
                else
                    XE(scale_row)(n_classes, gb + r * n_classes, VL, target->labels[i + r], r, &b);
            }
        }
    }
    return sum;
}

/* ---- cross-entropy against distributions and smoothed labels, a row at a time, a lane a class ----
 *
 * With a_k the target before the row's weight s, A = sum_k a_k, and T and O its parts where z_k = m and elsewhere,
 *     loss = s (A log1p(rest) + sum_k a_k (m - z_k)),
 *     g_k = s (A e_k / (1 + rest) - a_k), which is s ((O + (T - a_k)) - a_k rest) / (1 + rest) where z_k = m:
 * T - a_k is exactly 0 where m is one class's alone. */
typedef struct {
    const REAL *z, *y;  /* y NULL: one at the label */
    const double *w;    /* of the classes, or NULL */
    ptrdiff_t n, label; /* n classes */
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
    return q->n - k >= VL ? XE(load)(q->z + k) : XE(load_or)(q->z + k, q->n - k, -(REAL)INFINITY);
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

/* e becomes the gradient; s and 1 / (1 + rest) */
XE_HOT void XE(mixed_gradient)(const XE(mixed) * q, double s, double inverse, REAL *e)
{
    const double total = q->at_top + q->elsewhere;
    const V m = XE(all)(q->m), scale = XE(all)((REAL)(s * inverse * total)), s_k = XE(all)((REAL)s);
    const V top_scale = XE(all)((REAL)(s * inverse)), rest = XE(all)((REAL)q->rest);
    const V at_top = XE(all)((REAL)q->at_top), elsewhere = XE(all)((REAL)q->elsewhere);
    for (ptrdiff_t k = 0; k < q->n; k += VL) {
        const ptrdiff_t n = q->n - k;
        const V z_k = XE(logits_from)(q, k), a = XE(asked_of)(q, k, z_k);
        const V e_k = n >= VL ? XE(load)(e + k) : XE(load_some)(e + k, n);
        const V g_top = top_scale * ((elsewhere + (at_top - a)) - a * rest);
        const V g_k = XE(where)(XE(equal)(z_k, m), g_top, e_k * scale - s_k * a);
        if (n >= VL)
            XE(store)(e + k, g_k);
        else
            XE(store_some)(e + k, g_k, n);
    }
}

static double XE(mixed_rows)(XE_ROWS_ARGS(REAL))
{
    enum { N = 16 };
    const ptrdiff_t n_classes = target->n_classes;
    const double *w = target->class_weight;
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n_rows; done += N) {
        const ptrdiff_t n = n_rows - done < N ? n_rows - done : N;
        XE(mixed) rows[N];
        double rest[N] = {0}, tail[N], inverse[N];
        for (ptrdiff_t r = 0; r < n; r++) {
            const ptrdiff_t i = first + done + r;
            const REAL *zr = z + (done + r) * n_classes, *y = target->distribution;
            XE(mixed) *q = rows + r;
            if (XE(row_weight)(target, i) == 0.0) continue;
            *q = (XE(mixed)){.z = zr, .w = w, .n = n_classes, .keep = (REAL)(1.0 - target->smoothing),
                             .share = (REAL)XE(smoothing_share)(target, zr)};
            if (target->labels)
                q->label = target->labels[i];
            else
                q->y = y + i * n_classes;
            double top;
            rest[r] = XE(exp_wide)(zr, n_classes, grad ? grad + (done + r) * n_classes : NULL, VL, (REAL)EXP_LOW, &top);
            if (RUNS_OUT(rest[r])) rest[r] = XE(rest_again)(zr, n_classes, top);
            q->m = (REAL)top, q->rest = rest[r];
            XE(mixed_sums)(q);
        }
        for (ptrdiff_t r = 0; r < N; r += VLD) {
            const VD rest_r = XE_DOUBLE(load)(rest + r);
            const VD inverse_r = 1.0 / (1.0 + rest_r);
            XE_DOUBLE(store)(tail + r, XE_DOUBLE(log1p_with)(rest_r, inverse_r));
            XE_DOUBLE(store)(inverse + r, inverse_r);
        }
        for (ptrdiff_t r = 0; r < n; r++) {
            const double s = XE(row_weight)(target, first + done + r);
            REAL *g = grad ? grad + (done + r) * n_classes : NULL;
            double loss = 0.0;
            if (s == 0.0) {
                XE(fill)(g, n_classes, 0);
            } else {
                loss = s * (tail[r] * (rows[r].at_top + rows[r].elsewhere) + rows[r].distance);
                if (g) XE(mixed_gradient)(rows + r, s, inverse[r], g);
            }
            if (row_loss) row_loss[done + r] = loss;
            sum += loss;
        }
    }
    return sum;
}

/* Rows of a user's logits, or of a model's: whatever the loss and the target. */
static double XE(softmax_rows)(XE_ROWS_ARGS(REAL))
{
    const int plain = XE(is_plain)(target), cross_entropy = target->loss.kind == XE_CROSS_ENTROPY;
    return (plain ? XE(plain_rows) : cross_entropy ? XE(mixed_rows) : XE(xe_softmax_rows))(target, first, n_rows, z,
                                                                                            grad, row_loss);
}

/* Two classes, one logit z for class 1:  L = a_1 softplus(-z) + a_0 softplus(z),
 * dL/dz = a_0 sigmoid(z) - a_1 sigmoid(-z)  (the form sigmoid(z) - y is 0 at z = 20 in float32). In doubles, LOGIT_ROWS
 * at a time: z, a_0 and a_1 are read, and loss and g written, up to the end of the last vector. */
typedef struct {
    double z[LOGIT_ROWS], a0[LOGIT_ROWS], a1[LOGIT_ROWS], loss[LOGIT_ROWS];
    REAL g[LOGIT_ROWS];
} XE(sigmoid_block);

XE_HOT double XE(sigmoid_losses)(ptrdiff_t n, XE(sigmoid_block) * b)
{
    const ptrdiff_t padded = (n + VLD - 1) / VLD * VLD;
    const VD zero = XE_DOUBLE(all)(0.0);
    VD sum = zero;
    for (ptrdiff_t r = n; r < padded; r++) b->z[r] = b->a0[r] = b->a1[r] = 0.0;
    for (ptrdiff_t r = 0; r < padded; r += VLD) {
        const VD z = XE_DOUBLE(load)(b->z + r), a0 = XE_DOUBLE(load)(b->a0 + r), a1 = XE_DOUBLE(load)(b->a1 + r);
        const VD q = XE_DOUBLE(vexp)(XE_DOUBLE(smaller)(-z, z)), large = 1.0 / (1.0 + q), small = q * large;
        const VD tail = XE_DOUBLE(log1p_with)(q, large);
        const VD l0 = a0 * (tail + XE_DOUBLE(larger)(zero, z)), l1 = a1 * (tail + XE_DOUBLE(larger)(zero, -z));
        /* 0 * inf = 0 */
        const VD l = XE_DOUBLE(where)(XE_DOUBLE(equal)(a0, zero), zero, l0) +
                     XE_DOUBLE(where)(XE_DOUBLE(equal)(a1, zero), zero, l1);
        const XE_DOUBLE(mask) negative = XE_DOUBLE(less)(z, zero);
        const VD p0 = XE_DOUBLE(where)(negative, large, small), p1 = XE_DOUBLE(where)(negative, small, large);
        XE_DOUBLE(store)(b->loss + r, l);
        XE(narrow)(b->g + r, a0 * p1 - a1 * p0);
        sum += l;
    }
    return XE_DOUBLE(sum)(sum);
}

static double XE(sigmoid_rows)(XE_ROWS_ARGS(REAL))
{
    enum { N = LOGIT_ROWS };
    const double keep = 1.0 - target->smoothing, share = 0.5 * target->smoothing;
    const double *s = target->sample_weight, *w = target->class_weight;
    const double w0 = target->scale * (w ? w[0] : 1.0), w1 = target->scale * (w ? w[1] : 1.0);
    if (target->loss.kind != XE_CROSS_ENTROPY)
        return XE(xe_sigmoid_rows)(target, first, n_rows, z, grad, row_loss);
    XE(sigmoid_block) b;
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n_rows; done += N) {
        const ptrdiff_t n = n_rows - done < N ? n_rows - done : N, i = first + done;
        for (ptrdiff_t r = 0; r < n; r++) b.z[r] = (double)z[done + r];
        if (target->labels)
            for (ptrdiff_t r = 0; r < n; r++) {
                const double y = (double)target->labels[i + r];
                b.a1[r] = (keep * y + share) * w1, b.a0[r] = (keep * (1.0 - y) + share) * w0;
            }
        else
            for (ptrdiff_t r = 0; r < n; r++) {
                const REAL *y = (const REAL *)target->distribution + 2 * (i + r);
                b.a1[r] = (keep * (double)y[1] + share) * w1, b.a0[r] = (keep * (double)y[0] + share) * w0;
            }
        if (s)
            for (ptrdiff_t r = 0; r < n; r++) {
                b.a1[r] *= s[i + r], b.a0[r] *= s[i + r];
                b.z[r] = s[i + r] == 0.0 ? 0.0 : b.z[r];
            }
        sum += XE(sigmoid_losses)(n, &b);
        if (grad) memcpy(grad + done, b.g, (size_t)n * sizeof(REAL));
        if (row_loss) memcpy(row_loss + done, b.loss, (size_t)n * sizeof(double));
    }
    return sum;
}

static double XE(binary)(XE_BINARY_ARGS(REAL))
{
    enum { N = LOGIT_ROWS };
    const double keep = 1.0 - target->smoothing, share = 0.5 * target->smoothing;
    const double *s = target->sample_weight, *c = target->pos_weight;
    const REAL *y = (const REAL *)target->y + first;
    if (target->loss.kind != XE_CROSS_ENTROPY) return XE(xe_binary)(target, first, n, z, grad, element_loss);
    XE(sigmoid_block) b;
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n; done += N) {
        const ptrdiff_t n_now = n - done < N ? n - done : N, i = first + done;
        for (ptrdiff_t r = 0; r < n_now; r++) {
            const double t = keep * (double)y[done + r] + share;
            b.z[r] = (double)z[done + r];
            b.a1[r] = target->scale * t;
            /* from y itself: 1 - t would round away a target that is nearly 1 */
            b.a0[r] = target->scale * (keep * (1.0 - (double)y[done + r]) + share);
        }
        if (c)
            for (ptrdiff_t r = 0, k = i % target->period; r < n_now; r++, k = k + 1 == target->period ? 0 : k + 1)
                b.a1[r] *= c[k];
        if (s)
            for (ptrdiff_t r = 0; r < n_now; r++) {
                const double s_r = s[(i + r) / target->run];
                b.a1[r] *= s_r, b.a0[r] *= s_r;
                if (s_r == 0.0) b.z[r] = b.a0[r] = b.a1[r] = 0.0; /* whatever the element holds */
            }
        sum += XE(sigmoid_losses)(n_now, &b);
        if (grad) memcpy(grad + done, b.g, (size_t)n_now * sizeof(REAL));
        if (element_loss) memcpy(element_loss + done, b.loss, (size_t)n_now * sizeof(double));
    }
    return sum;
}
