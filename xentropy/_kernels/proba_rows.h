/* The cross-entropy of rows of probabilities, and whether they are probabilities at all.
 *
 *     L_i = -sum_k t_ik log q_ik,   q = min(max(p, eps), 1 - eps),   0 log 0 = 0
 *
 * Rows are checked a block at a time, in vectors. Only if a block fails, its rows are checked one by one. The first
 * check finds every bad row, up to the rounding of sums in REAL.
 */
#ifndef XENTROPY_PROBA_ROWS_H
#define XENTROPY_PROBA_ROWS_H

#include "kernels.h"
#include "vectors.h"

/* Records the first row that has a flaw. */
static inline void XE(record)(ptrdiff_t *flaw, ptrdiff_t row)
{
    if (*flaw < 0) *flaw = row;
}

/* Returns whether all numbers of n_rows >= ROWS rows are in [0, 1], and the sum of each row is within `tolerance` of
 * 1. NaN fails both.
 *
 * Read as integers, floats >= 0 have the order of their values, infinity and NaN are above them, and negative ones
 * above these. After a shift that moves 1 to the last integer below a quarter of the range, every number outside of
 * [0, 1] has one of the top two bits set. The exceptions are negative NaNs, which wrap around and show in the sum,
 * and -0, which may fail.
 *
 * The rows at least two groups of ROWS rows ahead are prefetched: the checks alone keep too few reads in flight to
 * use the memory's bandwidth. */
XE_HOT int XE(rows_are_fine)(const REAL *p, ptrdiff_t n_rows, ptrdiff_t n_columns, REAL tolerance)
{
    enum { NEAREST = 1024, WIDTH = VL > ROWS ? VL : ROWS };
    const XE(word) quarter = (XE(word))1 << (8 * sizeof(REAL) - 2);
    const ptrdiff_t size = ROWS * n_columns, two_groups = 2 * size * (ptrdiff_t)sizeof(REAL);
    const ptrdiff_t ahead = two_groups > NEAREST ? two_groups : NEAREST;
    const REAL minus_one = -1;
    const V zero = XE(set1)(0), one = XE(set1)(1), limit = XE(set1)(tolerance);
    const BITS move = quarter - 1 - XE(to_bits)(one);
    BITS seen = XE(to_bits)(zero);
    V n_off = zero;
    REAL off[WIDTH]; /* the sums of the rows, less 1 */
    XE_UNROLL
    for (int i = 0; i < WIDTH; i++) off[i] = 0;
    for (ptrdiff_t r = 0; r < n_rows; r += ROWS) {
        const REAL *row = p + (r + ROWS <= n_rows ? r : n_rows - ROWS) * n_columns; /* a row may be checked twice */
        V sum[ROWS];
        XE_UNROLL
        for (int i = 0; i < ROWS; i++) sum[i] = XE(load_n)(row + i * n_columns, n_columns);
        ptrdiff_t k = VL;
        for (; k + VL <= n_columns; k += VL)
            XE_UNROLL
            for (int i = 0; i < ROWS; i++) sum[i] += XE(load)(row + i * n_columns + k);
        if (k < n_columns)
            XE_UNROLL
            for (int i = 0; i < ROWS; i++) sum[i] += XE(load_n)(row + i * n_columns + k, n_columns - k);
        XE(reduce_rows)(sum, &minus_one, off);
        XE_UNROLL
        for (int i = 0; i < WIDTH; i += VL) {
            const V off_i = XE(load)(off + i);
            n_off += XE(select)(XE(less)(XE(max)(off_i, -off_i), limit), zero, one);
        }
        for (k = 0; k + 2 * VL <= size; k += 2 * VL) {
            XE_PREFETCH((const char *)(row + k) + ahead);
            if (2 * sizeof(V) > 64) XE_PREFETCH((const char *)(row + k + VL) + ahead);
            seen |= (XE(to_bits)(XE(load)(row + k)) + move) | (XE(to_bits)(XE(load)(row + k + VL)) + move);
        }
        for (; k < size; k += VL) seen |= XE(to_bits)(XE(load_n)(row + k, size - k)) + move;
    }
    XE(word) words[VL], any = 0;
    memcpy(words, &seen, sizeof seen);
    for (int i = 0; i < VL; i++) any |= words[i];
    return XE(reduce_add)(n_off) == 0 && any < quarter;
}

static void XE(find_flaws)(const xe_proba *m, ptrdiff_t first, ptrdiff_t n_rows, xe_proba_flaws *flaws)
{
    for (ptrdiff_t i = first; i < first + n_rows; i++) {
        if (m->sample_weight && m->sample_weight[i] == 0.0) continue;
        const REAL *row = (const REAL *)m->proba + i * m->n_columns;
        double sum = 0.0;
        for (ptrdiff_t k = 0; k < m->n_columns; k++) {
            sum += (double)row[k];
            if (!(row[k] >= 0 && row[k] <= 1)) XE(record)(&flaws->outside, i);
        }
        if (m->n_columns > 1 && !(fabs(sum - 1.0) <= m->sum_tolerance)) XE(record)(&flaws->off_one, i);
    }
}

XE_INLINE VD XE(clip)(VD p, double eps)
{
    return XE_DOUBLE(min)(XE_DOUBLE(max)(p, XE_DOUBLE(set1)(eps)), XE_DOUBLE(set1)(1.0 - eps));
}

/* Returns -log q, or 0 where t is 0, whatever p is. */
XE_INLINE VD XE(neg_log)(VD t, VD p, double eps)
{
    const VD zero = XE_DOUBLE(set1)(0.0), log_q = XE_DOUBLE(log)(XE(clip)(p, eps));
    return XE_DOUBLE(select)(XE_DOUBLE(equal)(t, zero), zero, zero - log_q);
}

/* Writes the losses of rows that give p to their labels, in whole vectors; a row of weight 0 has the loss 0. Returns
 * their weighted sum. */
XE_HOT double XE(label_losses)(const double *weight, const double *p, ptrdiff_t n, double eps, double *loss)
{
    VD sum = XE_DOUBLE(set1)(0.0);
    for (ptrdiff_t r = 0; r < n; r += VLD) {
        const VD s = XE_DOUBLE(load)(weight + r), l = XE(neg_log)(s, XE_DOUBLE(load)(p + r), eps);
        XE_DOUBLE(store)(loss + r, l);
        sum += s * l;
    }
    return XE_DOUBLE(reduce_add)(sum);
}

/* Returns only the sum, if all weights are 1 and no product of GROUP numbers underflows: GROUP numbers share one
 * logarithm. Q is their product and U = 1 - Q; both are computed without subtracting nearly equal numbers, so log(1
 * - U) is right to a few units in the last place even if all of them are nearly 1. */
#define GROUP 16
XE_HOT double XE(label_loss)(const double *p, ptrdiff_t n, double eps)
{
    VD sum = XE_DOUBLE(set1)(0.0);
    for (ptrdiff_t r = 0; r < n;) {
        const ptrdiff_t stop = n - r < GROUP * VLD ? n : r + GROUP * VLD;
        VD product = XE_DOUBLE(set1)(1.0), rest = XE_DOUBLE(set1)(0.0), k;
        for (; r < stop; r += VLD) {
            const VD q = XE(clip)(XE_DOUBLE(load)(p + r), eps);
            rest += (1.0 - q) * product;
            product *= q;
        }
        const VD f = XE_DOUBLE(log_reduce)(product, &k);
        const XE_DOUBLE(mask) near_one = XE_DOUBLE(equal)(k, XE_DOUBLE(set1)(0.0));
        sum -= XE_DOUBLE(log_sum)(k, XE_DOUBLE(select)(near_one, -rest, f), XE_DOUBLE(set1)(0.0));
    }
    return XE_DOUBLE(reduce_add)(sum);
}

/* Returns -sum_k t_k log q_k. */
XE_HOT double XE(row_loss)(const REAL *t, const REAL *p, ptrdiff_t n_classes, double eps)
{
    VD sum = XE_DOUBLE(set1)(0.0);
    for (ptrdiff_t k = 0; k < n_classes; k += VL) {
        double wide_t[VL], wide_p[VL];
        XE(wide_store)(wide_t, XE(load_n)(t + k, n_classes - k), 0);
        XE(wide_store)(wide_p, XE(load_n)(p + k, n_classes - k), 0);
        for (ptrdiff_t i = 0; i < VL; i += VLD) {
            const VD t_k = XE_DOUBLE(load)(wide_t + i);
            sum += t_k * XE(neg_log)(t_k, XE_DOUBLE(load)(wide_p + i), eps);
        }
    }
    return XE_DOUBLE(reduce_add)(sum);
}

static double XE(proba_rows)(const xe_proba *m, ptrdiff_t begin, ptrdiff_t end, double *row_loss, xe_proba_flaws *flaws)
{
    enum { BLOCK = 128 }; /* rows, in whole vectors */
    const ptrdiff_t K = m->n_columns;
    const double *s = m->sample_weight, eps = m->eps;
    const REAL tolerance = K > 1 ? (REAL)m->sum_tolerance : (REAL)INFINITY;
    const int only_sum = !s && !row_loss && eps > 1e-19; /* 1e-19^GROUP = 1e-304 */
    double total = 0.0, p_y[BLOCK], weight[BLOCK], loss[BLOCK];
    for (ptrdiff_t r = 0; r < BLOCK; r++) p_y[r] = weight[r] = 1.0;
    for (ptrdiff_t first = begin; first < end; first += BLOCK) {
        const ptrdiff_t n = end - first < BLOCK ? end - first : BLOCK;
        const REAL *p = (const REAL *)m->proba + first * K, *t = (const REAL *)m->distribution + first * K;
        if (n < ROWS || !XE(rows_are_fine)(p, n, K, tolerance)) XE(find_flaws)(m, first, n, flaws);
        if (flaws->outside >= 0) return NAN;
        if (s) memcpy(weight, s + first, (size_t)n * sizeof *weight);
        if (m->distribution) {
            for (ptrdiff_t r = 0; r < n; r++) {
                loss[r] = weight[r] == 0.0 ? 0.0 : XE(row_loss)(t + r * K, p + r * K, K, eps);
                total += weight[r] * loss[r];
            }
        } else {
            const ptrdiff_t unknown = (XE_IS_FLOAT ? xe_gather_float : xe_gather_double)(m, first, n, p_y);
            if (unknown >= 0) XE(record)(&flaws->unknown_label, unknown);
            for (ptrdiff_t r = n; r < BLOCK; r++) weight[r] = 0.0, p_y[r] = 1.0; /* the last block */
            total += only_sum && n == BLOCK ? XE(label_loss)(p_y, n, eps)
                                            : XE(label_losses)(weight, p_y, n, eps, loss);
        }
        if (row_loss) memcpy(row_loss + first, loss, (size_t)n * sizeof *loss);
    }
    return total;
}

/* ---- distributions ---- */

static ptrdiff_t XE(bad_distribution)(const REAL *y, ptrdiff_t n_rows, ptrdiff_t n_classes, double tolerance,
                                      const double *weight)
{
    enum { BLOCK = 64 };
    for (ptrdiff_t first = 0; first < n_rows; first += BLOCK) {
        const ptrdiff_t n = n_rows - first < BLOCK ? n_rows - first : BLOCK;
        if (n >= ROWS && XE(rows_are_fine)(y + first * n_classes, n, n_classes, (REAL)tolerance)) continue;
        for (ptrdiff_t i = first; i < first + n; i++) {
            if (weight && weight[i] == 0.0) continue;
            double total = 0.0, least = 0.0;
            for (ptrdiff_t k = 0; k < n_classes; k++) {
                const double y_k = (double)y[i * n_classes + k];
                total += y_k;
                least = y_k < least ? y_k : least;
            }
            /* NaN fails this form */
            if (!(least >= 0.0 && total >= 1.0 - tolerance && total <= 1.0 + tolerance)) return i;
        }
    }
    return -1;
}

XE_HOT double XE(distribution_mass)(const REAL *y, ptrdiff_t n_rows, ptrdiff_t n_classes, const double *weight,
                                    const double *class_weight)
{
    double mass = 0.0;
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        if (weight && weight[i] == 0.0) continue;
        VD sum = XE_DOUBLE(set1)(0.0);
        for (ptrdiff_t k = 0; k < n_classes; k += VL) {
            const V y_k = XE(load_n)(y + i * n_classes + k, n_classes - k);
            if (class_weight) {
                double wide[VL];
                XE(wide_store)(wide, y_k, 0);
                for (ptrdiff_t j = 0; j < VL; j += VLD)
                    sum += XE_DOUBLE(load)(wide + j) * XE_DOUBLE(load_n)(class_weight + k + j, n_classes - k - j);
            } else {
                sum += XE(fold)(y_k);
            }
        }
        mass += (weight ? weight[i] : 1.0) * XE_DOUBLE(reduce_add)(sum);
    }
    return mass;
}

XE_HOT ptrdiff_t XE(in_unit_interval)(const REAL *y, ptrdiff_t n)
{
    enum { BLOCK = 16 };
    const V zero = XE(set1)(0), one = XE(set1)(1);
    ptrdiff_t known = 0;
    for (; known + BLOCK * VL <= n; known += BLOCK * VL) {
        V n_outside = zero;
        for (ptrdiff_t i = known; i < known + BLOCK * VL; i += VL) {
            const V y_i = XE(load)(y + i), clipped = XE(min)(XE(max)(y_i, zero), one);
            n_outside += XE(select)(XE(equal)(y_i, clipped), zero, one);
        }
        if (XE(reduce_add)(n_outside) > 0) break;
    }
    return known;
}

#endif
