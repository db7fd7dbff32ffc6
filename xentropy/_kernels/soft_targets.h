/* The cross-entropy of distributions and smoothed labels, in vectors.
 *
 * With a_k the target without the row's weight s, A = sum_k a_k = T + O, T its part where z_k = m and O elsewhere,
 *     loss = s (A log1p(rest) + sum_k a_k (m - z_k)),
 *     g_k = s (A e_k / (1 + rest) - a_k), which is s ((O + (T - a_k)) - a_k rest) / (1 + rest) where z_k = m:
 * T - a_k is exactly 0 if only one class is at m.
 */
#ifndef XENTROPY_SOFT_TARGETS_H
#define XENTROPY_SOFT_TARGETS_H

#include "softmax.h"

/* Few classes: a lane is a row. Writes exp(z - m) to e and a_k to targets, both (K, stride), where targets holds the
 * distribution if there is no label. Writes rest, sum_k a_k (m - z_k), T and O of each row to rest, gap, scale and
 * own_scale. */
XE_HOT void XE(mix_columns)(const xe_target *t, ptrdiff_t padded, const REAL *z, REAL *e, REAL *targets,
                            ptrdiff_t stride, const XE(block) * b)
{
    const V zero = XE(set1)(0), one = XE(set1)(1), masked = XE(set1)(-(REAL)INFINITY);
    const XE(exp_end) end = b->end;
    const V keep = XE(set1)((REAL)(1.0 - t->smoothing));
    for (ptrdiff_t r = 0; r < padded; r += VL) {
        const V y = XE(load)(b->label + r);
        V m = masked, n_open = zero;
        for (ptrdiff_t k = 0; k < t->n_classes; k++) {
            const V z_k = XE(load)(z + k * stride + r);
            m = XE(max)(z_k, m);
            n_open += XE(select)(XE(equal)(z_k, masked), zero, one);
        }
        const V share = XE(set1)((REAL)t->smoothing) / XE(max)(n_open, one);
        V rest = zero, ties = -one, at_top = zero, elsewhere = zero, distance = zero, class_k = zero;
        for (ptrdiff_t k = 0; k < t->n_classes; k++) {
            const V z_k = XE(load)(z + k * stride + r), e_k = XE(exp_to)(&end, z_k - m);
            const M top = XE(equal)(z_k, m);
            V a = t->labels ? XE(select)(XE(equal)(y, class_k), keep, zero) : keep * XE(load)(targets + k * stride + r);
            a += XE(select)(XE(equal)(z_k, masked), zero, share);
            if (t->class_weight) a *= (REAL)t->class_weight[k];
            XE(store)(e + k * stride + r, e_k);
            XE(store)(targets + k * stride + r, a);
            rest += XE(select)(top, zero, e_k);
            ties += XE(select)(top, one, zero);
            at_top += XE(select)(top, a, zero);
            elsewhere += XE(select)(top, zero, a);
            distance += XE(select)(XE(equal)(a, zero), zero, a * (m - z_k)); /* 0 * inf = 0 */
            class_k += one;
        }
        rest += ties + (m - m); /* m - m: NaN where the row has no distribution */
        XE(wide_store)(b->rest + r, rest, 0);
        XE(wide_store)(b->gap + r, distance, 0);
        XE(store)(b->scale + r, at_top);
        XE(store)(b->own_scale + r, elsewhere);
        XE(restore_digits)(t->n_classes, z + r, stride, rest, b->rest + r);
    }
}

/* Computes the losses from these, and writes rest to label and s / (1 + rest) to own_shift. Returns the sum of the
 * losses. */
XE_HOT double XE(finish_mixed)(ptrdiff_t padded, const XE(block) * b)
{
    const VD zero = XE_DOUBLE(set1)(0.0), tiny = XE_DOUBLE(set1)((double)b->tiny);
    VD sum = zero;
    for (ptrdiff_t r = 0; r < padded; r += VLD) {
        const VD s = XE_DOUBLE(load)(b->weight + r), rest = XE_DOUBLE(load)(b->rest + r);
        const VD inverse = 1.0 / (1.0 + rest), tail = XE_DOUBLE(log1p_with)(rest, inverse);
        const VD total = XE(widen)(b->scale + r) + XE(widen)(b->own_scale + r);
        const VD weighted = s * (tail * total + XE_DOUBLE(load)(b->gap + r));
        /* 0 * inf = 0: rows that only fill the last vector repeat a row whose loss may be inf */
        const VD loss = XE_DOUBLE(select)(XE_DOUBLE(equal)(s, zero), zero, weighted);
        XE_DOUBLE(store)(b->loss + r, loss);
        XE(narrow)(b->own_shift + r, s * inverse);
        XE(narrow)(b->label + r, XE_DOUBLE(select)(XE_DOUBLE(less)(rest, tiny), zero, rest));
        sum += loss;
    }
    return XE_DOUBLE(reduce_add)(sum);
}

/* Turns e into the gradient: s / (1 + rest) times A e_k - a_k (1 + rest), or (O + (T - a_k)) - a_k rest at m. */
XE_HOT void XE(scale_mixed)(ptrdiff_t n_classes, ptrdiff_t padded, const REAL *z, REAL *e, const REAL *targets,
                            ptrdiff_t stride, const XE(block) * b)
{
    const V zero = XE(set1)(0), tiny = XE(set1)(b->tiny);
    for (ptrdiff_t r = 0; r < padded; r += VL) {
        const V at_top = XE(load)(b->scale + r), elsewhere = XE(load)(b->own_scale + r);
        const V rest = XE(load)(b->label + r), scale = XE(load)(b->own_shift + r);
        const V total = at_top + elsewhere, whole = (REAL)1 + rest;
        V m = XE(load)(z + r);
        for (ptrdiff_t k = 1; k < n_classes; k++) m = XE(max)(XE(load)(z + k * stride + r), m);
        for (ptrdiff_t k = 0; k < n_classes; k++) {
            const V a = XE(load)(targets + k * stride + r), e_k = XE(load)(e + k * stride + r);
            const V g = scale * XE(select)(XE(equal)(XE(load)(z + k * stride + r), m),
                                          (elsewhere + (at_top - a)) - a * rest, e_k * total - a * whole);
            XE(store)(e + k * stride + r, XE(select)(XE(less)(XE(max)(g, -g), tiny), zero, g));
        }
    }
}

/* Many classes: a row at a time, a lane is a class. */
typedef struct {
    const REAL *z, *y;         /* y NULL: the target is the label */
    const double *w;           /* class weights, or NULL */
    ptrdiff_t width, n, label; /* numbers in a row of z, and classes: z is -inf past them */
    REAL m, keep, share;
    double rest, at_top, elsewhere, distance; /* T, O, sum_k a_k (m - z_k) */
} XE(mixed);

/* Returns a_k of a vector of logits from class k on. */
XE_INLINE V XE(targets_from)(const XE(mixed) * q, ptrdiff_t k, V z_k)
{
    const ptrdiff_t n = q->n - k;
    V a = XE(select)(XE(equal)(z_k, XE(set1)(-(REAL)INFINITY)), XE(set1)(0), XE(set1)(q->share));
    if (q->y) {
        a += XE(set1)(q->keep) * (n >= VL ? XE(load)(q->y + k) : XE(load_n)(q->y + k, n));
    } else if (q->label >= k && q->label < k + VL) {
        REAL y[VL];
        for (ptrdiff_t i = 0; i < VL; i++) y[i] = q->label - k == i ? 1 : 0;
        a += XE(set1)(q->keep) * XE(load)(y);
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
    return q->width - k >= VL ? XE(load)(q->z + k) : XE(load_n_or)(q->z + k, q->width - k, -(REAL)INFINITY);
}

/* Computes T, O and the distance. */
XE_HOT void XE(mixed_sums)(XE(mixed) * q)
{
    enum { SHORT = 16 };
    const V zero = XE(set1)(0), m = XE(set1)(q->m);
    VD at_top = XE_DOUBLE(set1)(0.0), elsewhere = at_top, distance = at_top;
    for (ptrdiff_t k = 0; k < q->n;) {
        V t = zero, o = zero, d = zero;
        const ptrdiff_t stop = q->n - k < SHORT * VL ? q->n : k + SHORT * VL;
        for (; k < stop; k += VL) {
            const V z_k = XE(logits_from)(q, k), a = XE(targets_from)(q, k, z_k);
            const M top = XE(equal)(z_k, m);
            t += XE(select)(top, a, zero);
            o += XE(select)(top, zero, a);
            d += XE(select)(XE(equal)(a, zero), zero, a * (m - z_k)); /* 0 * inf = 0 */
        }
        at_top += XE(fold)(t), elsewhere += XE(fold)(o), distance += XE(fold)(d);
    }
    q->at_top = XE_DOUBLE(reduce_add)(at_top), q->elsewhere = XE_DOUBLE(reduce_add)(elsewhere);
    q->distance = XE_DOUBLE(reduce_add)(distance);
}

/* Turns e into the gradient, which is 0 if it is less than tiny; inverse is 1 / (1 + rest). */
XE_HOT void XE(mixed_gradient)(const XE(mixed) * q, double s, double inverse, REAL tiny, REAL *e, ptrdiff_t e_step)
{
    const double total = q->at_top + q->elsewhere;
    const V m = XE(set1)(q->m), scale = XE(set1)((REAL)(s * inverse * total)), s_k = XE(set1)((REAL)s);
    const V top_scale = XE(set1)((REAL)(s * inverse)), rest = XE(set1)((REAL)(q->rest < (double)tiny ? 0.0 : q->rest));
    const V at_top = XE(set1)((REAL)q->at_top), elsewhere = XE(set1)((REAL)q->elsewhere);
    for (ptrdiff_t k = 0; k < q->width; k += VL, e += e_step) {
        const ptrdiff_t n = q->width - k;
        const V z_k = XE(logits_from)(q, k), a = XE(targets_from)(q, k, z_k);
        const V e_k = n >= VL ? XE(load)(e) : XE(load_n)(e, n);
        const V g_top = top_scale * ((elsewhere + (at_top - a)) - a * rest);
        const V g = XE(select)(XE(equal)(z_k, m), g_top, e_k * scale - s_k * a);
        const V g_k = XE(select)(XE(less)(XE(max)(g, -g), XE(set1)(tiny)), XE(set1)(0), g);
        if (n >= VL)
            XE(store)(e, g_k);
        else
            XE(store_n)(e, g_k, n);
    }
}

#endif
