/* The cross-entropy of labels without smoothing, in vectors.
 *
 * The formulas are the same as in losses.h. A lane is a row, or a loop is a row:
 *     m = max z,  rest = sum exp(z_k - m) over all classes but one at m,  loss = a (log1p(rest) + m - z_y),
 *     g_k = a exp(z_k - m) / (1 + rest),  g_y -= a, which is -a rest / (1 + rest) where z_y = m
 * Logarithms, losses and weights are doubles; a block of rows shares one loop over them.
 */
#ifndef XENTROPY_SOFTMAX_H
#define XENTROPY_SOFTMAX_H

#include "kernels.h"
#include "phi.h"
#include "vectors.h"

/* The loops over a block of rows pass these arrays on, of `stride` numbers each, a whole number of vectors. */
typedef struct {
    double *weight, *rest, *gap, *loss; /* a, rest, m - z_y, loss */
    REAL *label, *scale, *own_scale, *own_shift; /* y; g_k = scale e_k, g_y = own_scale e_y + own_shift */
    XE(exp_end) end;
    REAL tiny; /* smaller gradients become 0 */
} XE(block);

#define BLOCK_BYTES(stride) ((stride) * (ptrdiff_t)(4 * sizeof(double) + 4 * sizeof(REAL)))

static inline char *XE(init_block)(char *scratch, ptrdiff_t stride, XE(block) * b)
{
    b->end = XE(exp_ends)(1), b->tiny = 0;
    b->weight = (double *)scratch;
    b->rest = b->weight + stride, b->gap = b->rest + stride, b->loss = b->gap + stride;
    b->label = (REAL *)(b->loss + stride);
    b->scale = b->label + stride, b->own_scale = b->scale + stride, b->own_shift = b->own_scale + stride;
    return scratch + BLOCK_BYTES(stride);
}

/* A processor takes some hundred cycles for each vector that holds a denormal number. A user's probabilities may be
 * denormal. In a gradient summed over rows they do not count, and a rest that is so small is recomputed. */
static inline void XE(flush_denormals)(XE(block) * b)
{
    b->end = XE(exp_ends)(0);
    b->tiny = XE_IS_FLOAT ? (REAL)0x1p-100 : (REAL)0x1p-900;
}

static inline void XE(flush_tiny)(REAL *g, ptrdiff_t n, const XE(block) * b)
{
    for (ptrdiff_t r = 0; r < n; r++) g[r] = g[r] < b->tiny && g[r] > -b->tiny ? 0 : g[r];
}

static inline int XE(is_plain)(const xe_target *t)
{
    return t->loss.kind == xe_kind_cross_entropy && t->labels && t->smoothing == 0.0;
}

/* Fills in labels and weights of n rows. The weights include the class weight of a label without smoothing. Rows of
 * weight 0 fill the last vector. */
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

/* Computes the losses, and the factors of the gradient, from rest and gap. Returns the sum of the losses. */
XE_HOT double XE(finish_rows)(ptrdiff_t padded, const XE(block) * b)
{
    const VD zero = XE_DOUBLE(set1)(0.0), tiny = XE_DOUBLE(set1)((double)b->tiny);
    VD sum = zero;
    for (ptrdiff_t r = 0; r < padded; r += VLD) {
        const VD a = XE_DOUBLE(load)(b->weight + r), rest = XE_DOUBLE(load)(b->rest + r);
        const VD gap = XE_DOUBLE(load)(b->gap + r);
        const VD inverse = 1.0 / (1.0 + rest), tail = XE_DOUBLE(log1p_with)(rest, inverse), scale = a * inverse;
        /* 0 * inf = 0: a masked class of weight 0 costs nothing */
        const VD loss = a * (tail + XE_DOUBLE(select)(XE_DOUBLE(equal)(a, zero), zero, gap));
        const XE_DOUBLE(mask) own = XE_DOUBLE(equal)(gap, zero);
        XE_DOUBLE(store)(b->loss + r, loss);
        XE(narrow)(b->scale + r, scale);
        XE(narrow)(b->own_scale + r, XE_DOUBLE(select)(own, zero, scale));
        const VD shift = XE_DOUBLE(select)(own, -rest * scale, -a);
        XE(narrow)(b->own_shift + r, XE_DOUBLE(select)(XE_DOUBLE(less)(-tiny, shift), zero, shift));
        sum += loss;
    }
    return XE_DOUBLE(reduce_add)(sum);
}

/* A float underflows at exp(-103), but a loss is a double, and must not become 0 before exp(-745). So a small rest is
 * recomputed in doubles, from logits z with the maximum m. */
XE_HOT double XE(recompute_rest)(const REAL *z, ptrdiff_t n, double m)
{
    const VD zero = XE_DOUBLE(set1)(0.0), one = XE_DOUBLE(set1)(1.0);
    VD rest = zero, ties = zero;
    for (ptrdiff_t k = 0; k < n; k += VLD) {
        REAL tail[VLD];
        for (ptrdiff_t i = 0; i < VLD; i++) tail[i] = k + i < n ? z[k + i] : -(REAL)INFINITY;
        const VD x = XE(widen)(k + VLD <= n ? z + k : tail) - m;
        const XE_DOUBLE(mask) top = XE_DOUBLE(equal)(x, zero);
        rest += XE_DOUBLE(select)(top, zero, XE_DOUBLE(vexp)(x));
        ties += XE_DOUBLE(select)(top, one, zero);
    }
    return XE_DOUBLE(reduce_add)(rest) + (XE_DOUBLE(reduce_add)(ties) - 1.0);
}

#define SMALL_REST 1e-30
#define UNDERFLOWS(rest) (sizeof(REAL) < sizeof(double) && (rest) < SMALL_REST)

/* ---- rows and columns ----
 *
 * Squares are transposed in registers, HL rows and BAND columns at a time. The last group of a row ends where the row
 * ends, and repeats a part of the group before it. A row shorter than BAND is read and written together with the start
 * of the next one, so in order of the rows, and the last such rows number by number. */

#define BAND ((ptrdiff_t)4) /* whole squares */

/* Returns whether HL rows from the r-th on can be transposed so, without a number past the end of the last row. */
XE_INLINE int XE(in_squares)(ptrdiff_t r, ptrdiff_t n, ptrdiff_t row_stride, ptrdiff_t K)
{
    return r + HL <= n && (r + HL - 1) * row_stride + BAND <= (n - 1) * row_stride + (K < BAND ? K : BAND);
}

XE_INLINE void XE(transpose_squares)(H *a)
{
    XE_UNROLL
    for (int i = 0; i < BAND; i += SQUARE) XE(transpose_short)(a + i);
}

/* Transposes rows (n, K), row_stride apart, to columns (K, stride), which repeat the last row up to the end of the last
 * vector. Rows of weight 0 become zeros. */
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
            XE(transpose_squares)(a);
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

/* Transposes columns (K, stride) to rows (n, K), row_stride apart. */
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
            XE(transpose_squares)(a);
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

/* Recomputes the small rests of VLD rows. */
static void XE(recompute_rests)(ptrdiff_t n_classes, const REAL *z, ptrdiff_t stride, double *rest)
{
    const VD zero = XE_DOUBLE(set1)(0.0), one = XE_DOUBLE(set1)(1.0), old = XE_DOUBLE(load)(rest);
    VD m = XE(widen)(z), sum = zero, ties = -one;
    for (ptrdiff_t k = 1; k < n_classes; k++) m = XE_DOUBLE(max)(XE(widen)(z + k * stride), m);
    for (ptrdiff_t k = 0; k < n_classes; k++) {
        const VD z_k = XE(widen)(z + k * stride);
        const XE_DOUBLE(mask) top = XE_DOUBLE(equal)(z_k, m);
        sum += XE_DOUBLE(select)(top, zero, XE_DOUBLE(vexp)(z_k - m));
        ties += XE_DOUBLE(select)(top, one, zero);
    }
    XE_DOUBLE(store)(rest, XE_DOUBLE(select)(XE_DOUBLE(less)(old, XE_DOUBLE(set1)(SMALL_REST)), ties + sum, old));
}

/* The same for a vector of rows. */
XE_INLINE void XE(restore_digits)(ptrdiff_t n_classes, const REAL *z, ptrdiff_t stride, V rest, double *wide)
{
    if (sizeof(REAL) == sizeof(double) || !XE(any)(XE(less)(rest, XE(set1)((REAL)SMALL_REST)))) return;
    for (ptrdiff_t i = 0; i < VL; i += VLD) XE(recompute_rests)(n_classes, z + i, stride, wide + i);
}

/* Writes exp(z - m) to e for n_vectors vectors of rows. */
XE_INLINE void XE(exp_of_columns)(ptrdiff_t n_classes, const int n_vectors, const REAL *z, REAL *e, ptrdiff_t stride,
                                  const XE(exp_end) * end)
{
    V m[EXPS], x[EXPS];
    XE_UNROLL
    for (int i = 0; i < n_vectors; i++) m[i] = XE(load)(z + i * VL);
    for (ptrdiff_t k = 1; k < n_classes; k++)
        XE_UNROLL
        for (int i = 0; i < n_vectors; i++) m[i] = XE(max)(XE(load)(z + k * stride + i * VL), m[i]);
    for (ptrdiff_t k = 0; k < n_classes; k++) {
        XE_UNROLL
        for (int i = 0; i < n_vectors; i++) x[i] = XE(load)(z + k * stride + i * VL) - m[i];
        XE(exps_to)(end, x, n_vectors);
        XE_UNROLL
        for (int i = 0; i < n_vectors; i++) XE(store)(e + k * stride + i * VL, x[i]);
    }
}

/* Writes exp(z - m) to e, and each row's rest and gap to b. */
XE_HOT void XE(exp_columns)(ptrdiff_t n_classes, ptrdiff_t padded, const REAL *z, REAL *e, ptrdiff_t stride,
                            const XE(block) * b)
{
    const XE(exp_end) end = b->end;
    ptrdiff_t r = 0;
    for (; r + EXPS * VL <= padded; r += EXPS * VL) XE(exp_of_columns)(n_classes, EXPS, z + r, e + r, stride, &end);
    for (; r < padded; r += VL) XE(exp_of_columns)(n_classes, 1, z + r, e + r, stride, &end);
    for (r = 0; r < padded; r += VL) {
        const V y = XE(load)(b->label + r);
        V m = XE(load)(z + r), z_y = m, rest = XE(set1)(0), ties = XE(set1)(START_COUNT), class_k = rest;
        for (ptrdiff_t k = 1; k < n_classes; k++) m = XE(max)(XE(load)(z + k * stride + r), m);
        for (ptrdiff_t k = 0; k < n_classes; k++) {
            const V z_k = XE(load)(z + k * stride + r);
            const M top = XE(equal)(z_k, m);
            rest += XE(andnot)(top, XE(load)(e + k * stride + r));
            ties = XE(count)(ties, top);
            z_y = XE(select)(XE(equal)(y, class_k), z_k, z_y);
            class_k += (REAL)1;
        }
        rest += (ties - (START_COUNT + 1)) + (m - m); /* m - m is NaN if the row has no distribution */
        XE(wide_store)(b->rest + r, rest, 0);
        XE(wide_store)(b->gap + r, m - z_y, 0);
        XE(restore_digits)(n_classes, z + r, stride, rest, b->rest + r);
    }
}

/* Scales e to the gradient. */
XE_HOT void XE(scale_columns)(ptrdiff_t n_classes, ptrdiff_t padded, REAL *e, ptrdiff_t stride, const XE(block) * b)
{
    const V tiny = XE(set1)(b->tiny);
    for (ptrdiff_t r = 0; r < padded; r += VL) {
        const V y = XE(load)(b->label + r), scale = XE(load)(b->scale + r);
        const V own_scale = XE(load)(b->own_scale + r), own_shift = XE(load)(b->own_shift + r);
        V class_k = XE(set1)(0);
        for (ptrdiff_t k = 0; k < n_classes; k++) {
            const V e_k = XE(load)(e + k * stride + r), g_k = e_k * scale;
            const V other = XE(andnot)(XE(less)(g_k, tiny), g_k);
            XE(store)(e + k * stride + r, XE(select)(XE(equal)(y, class_k), e_k * own_scale + own_shift, other));
            class_k += (REAL)1;
        }
    }
}

/* ---- many classes: a row at a time, a lane is a class ----
 *
 * Vector v of a row of e lies at e + v e_step, so that rows may lie one after the other, or in tiles of one vector of
 * classes. */

/* Returns how many bytes ahead to prefetch, if n_bytes of rows are worked on at a time. */
static inline ptrdiff_t XE(ahead)(ptrdiff_t n_bytes)
{
    return n_bytes < 4096 ? 4096 : n_bytes > 65536 ? 65536 : n_bytes;
}

/* Returns m, the largest logit of a row, which may hold NaN. */
XE_HOT REAL XE(row_max)(const REAL *z, ptrdiff_t n_classes)
{
    V highest = XE(set1)(-(REAL)INFINITY);
    ptrdiff_t k = 0;
    for (; k + VL <= n_classes; k += VL) highest = XE(max)(XE(load)(z + k), highest);
    if (k < n_classes) highest = XE(max)(XE(load_n_or)(z + k, n_classes - k, -(REAL)INFINITY), highest);
    return XE(reduce_max)(highest);
}

/* Writes exp(z - m) to e, if that is not NULL, for n_vectors vectors at once. Unless is_whole, the last one has `left`
 * lanes. Adds the numbers below the maximum to rest, and counts the maxima in ties. */
XE_INLINE void XE(exp_part)(const int n_vectors, const int is_whole, ptrdiff_t left, const REAL *z, V m, REAL *e,
                            ptrdiff_t e_step, const XE(exp_end) * end, ptrdiff_t ahead, V *rest, V *ties)
{
    enum { MASKS_ARE_FREE = XE_MASK_REGISTERS }; /* otherwise they take the registers of vectors */
    V x[EXPS];
    M is_top[EXPS];
    XE_UNROLL
    for (int i = 0; i < n_vectors; i++) {
        const int is_cut = !is_whole && i == n_vectors - 1;
        if (i * sizeof(V) % 64 == 0) XE_PREFETCH((const char *)(z + i * VL) + ahead);
        x[i] = is_cut ? XE(load_n_or)(z + i * VL, left, -(REAL)INFINITY) : XE(load)(z + i * VL);
        if (MASKS_ARE_FREE) is_top[i] = XE(equal)(x[i], m);
        x[i] -= m;
    }
    XE(exps_to)(end, x, n_vectors);
    XE_UNROLL
    for (int i = 0; i < n_vectors; i++) {
        const int is_cut = !is_whole && i == n_vectors - 1;
        if (!MASKS_ARE_FREE)
            is_top[i] = XE(equal)(
                is_cut ? XE(load_n_or)(z + i * VL, left, -(REAL)INFINITY) : XE(load)(z + i * VL), m);
        *rest += XE(andnot)(is_top[i], x[i]);
        *ties = XE(count)(*ties, is_top[i]);
        if (e && is_cut)
            XE(store_n)(e + i * e_step, x[i], left);
        else if (e)
            XE(store)(e + i * e_step, x[i]);
    }
}

/* Writes exp(z - m) to e if that is not NULL, and returns rest. The last vectors of a row are computed together,
 * however few: one by one, each would wait for its last step. Meanwhile the numbers `ahead` bytes past z are
 * prefetched. */
XE_HOT double XE(exp_wide)(const REAL *z, ptrdiff_t n_classes, REAL top, REAL *e, ptrdiff_t e_step,
                           const XE(exp_end) * ends, ptrdiff_t ahead)
{
    _Static_assert(EXPS == 4, "the switch below takes the remainder of a division by 4");
    enum { SHORT = 16 }; /* so many vectors are summed in REAL, and their sum is added to doubles */
    const XE(exp_end) end = *ends;
    const V m = XE(set1)(top);
    V ties = XE(set1)(START_COUNT);
    VD sum = XE_DOUBLE(set1)(0.0);
    for (ptrdiff_t k = 0; k < n_classes;) {
        V rest = XE(set1)(0);
        const ptrdiff_t stop = n_classes - k < SHORT * VL ? n_classes : k + SHORT * VL;
        for (; k + EXPS * VL <= stop; k += EXPS * VL, e += e ? EXPS * e_step : 0)
            XE(exp_part)(EXPS, 1, 0, z + k, m, e, e_step, &end, ahead, &rest, &ties);
        const ptrdiff_t left = (stop - k) % VL;
        switch ((stop - k + VL - 1) / VL * 2 + (left != 0)) {
#define CALL(n)                                                                                                  \
    case 2 * (n): XE(exp_part)(n, 1, 0, z + k, m, e, e_step, &end, ahead, &rest, &ties); break;                  \
    case 2 * (n) + 1: XE(exp_part)(n, 0, left, z + k, m, e, e_step, &end, ahead, &rest, &ties); break;
            CALL(1)
            CALL(2)
            CALL(3)
        case 2 * EXPS + 1: XE(exp_part)(EXPS, 0, left, z + k, m, e, e_step, &end, ahead, &rest, &ties);
#undef CALL
        }
        k = stop;
        sum += XE(fold)(rest);
    }
    const double n_ties = (double)XE(reduce_add)(ties - START_COUNT);
    return XE_DOUBLE(reduce_add)(sum) + (n_ties - 1.0) + ((double)top - (double)top);
}

/* Scales e to the gradient of row r. */
XE_HOT void XE(scale_row)(ptrdiff_t n_classes, REAL *e, ptrdiff_t e_step, ptrdiff_t y, ptrdiff_t r,
                          const XE(block) * b)
{
    REAL *own = e + y / VL * e_step + y % VL;
    const REAL g_y = *own * b->own_scale[r] + b->own_shift[r];
    const V scale = XE(set1)(b->scale[r]), tiny = XE(set1)(b->tiny);
    ptrdiff_t k = 0;
    if (b->tiny == 0)
        for (; k + VL <= n_classes; k += VL, e += e_step) XE(store)(e, XE(load)(e) * scale);
    for (; k + VL <= n_classes; k += VL, e += e_step) {
        const V g_k = XE(load)(e) * scale;
        XE(store)(e, XE(andnot)(XE(less)(g_k, tiny), g_k));
    }
    if (k < n_classes) {
        const V g_k = XE(load_n)(e, n_classes - k) * scale;
        XE(store_n)(e, XE(andnot)(XE(less)(g_k, tiny), g_k), n_classes - k);
    }
    *own = g_y;
}

#endif
