/* The cross-entropy of two classes in the sigmoid form, and of binary targets, in vectors.
 *
 * With one logit z, of class 1, and q = exp(-|z|):
 *     L = s (a_1 softplus(-z) + a_0 softplus(z)),   dL/dz = s (a_0 sigmoid(z) - a_1 sigmoid(-z)),
 *     softplus(z) = log1p(q) + max(z, 0),           sigmoid(-|z|) = q / (1 + q)
 * The form sigmoid(z) - y would be 0 at z = 20 in float32. Everything but the weight s and the losses is REAL.
 */
#ifndef XENTROPY_SIGMOID_H
#define XENTROPY_SIGMOID_H

#include "cross_entropy.h"

typedef struct {
    const REAL *z, *a1, *a0; /* a0 NULL: 1 - a1 */
    const double *weight;    /* s, or NULL: `scale` */
    const REAL *weight_real; /* the weights as REAL */
    double scale;
} XE(two_classes);

/* A float q underflows where log1p(q) and q / (1 + q) are q to all digits of a double: there the loss and the
 * gradient are recomputed in doubles. */
XE_HOT void XE(far_from_zero)(const REAL *z, const REAL *a1, const REAL *a0, double *loss, REAL *g)
{
    const VD zero = XE_DOUBLE(set1)(0.0);
    for (ptrdiff_t i = 0; i < EXPS * VL; i += VLD) {
        const VD z_i = XE(widen)(z + i), l1 = XE(widen)(a1 + i), l0 = XE(widen)(a0 + i);
        const VD least = XE_DOUBLE(min)(-z_i, z_i), q = XE_DOUBLE(vexp)(least);
        const XE_DOUBLE(mask) far = XE_DOUBLE(less)(q, XE_DOUBLE(set1)(SMALL_REST));
        const XE_DOUBLE(mask) negative = XE_DOUBLE(less)(z_i, zero);
        const VD right = XE_DOUBLE(select)(negative, l0, l1), wrong = XE_DOUBLE(select)(negative, l1, l0);
        const VD far_loss = right * q + XE_DOUBLE(andnot)(XE_DOUBLE(equal)(wrong, zero), wrong * (q - least));
        const VD slope = wrong - right * q; /* the derivative along |z| */
        XE_DOUBLE(store)(loss + i, XE_DOUBLE(select)(far, far_loss, XE_DOUBLE(load)(loss + i)));
        XE(narrow)(g + i, XE_DOUBLE(select)(far, XE_DOUBLE(select)(negative, -slope, slope), XE(widen)(g + i)));
    }
}

/* Computes rows r..r + EXPS VL, as many vectors as exp takes at a time. Returns a vector with the sum of their
 * losses. */
XE_INLINE VD XE(sigmoid_vectors)(const XE(two_classes) * t, ptrdiff_t r, REAL *g, double *loss)
{
    static const REAL poly[] = {XE_COEFFICIENTS(LOG1P_POLY)};
    const XE(exp_end) end = XE(exp_ends)(!XE_IS_FLOAT);
    const V zero = XE(set1)(0);
    V q[EXPS], large[EXPS], s[EXPS], square[EXPS], series[EXPS];
    double losses[EXPS * VL];
    XE_UNROLL
    for (int i = 0; i < EXPS; i++) {
        const V z = XE(load)(t->z + r + i * VL);
        q[i] = XE(min)(-z, z);
    }
    XE(exps_to)(&end, q, EXPS);
    XE_UNROLL
    for (int i = 0; i < EXPS; i++) {
        /* one division is enough for 1 / (1 + q) and s = q / (2 + q), where log1p(q) = log((1 + s) / (1 - s)) */
        const V u = q[i] + (REAL)1, v = q[i] + (REAL)2, inverse = (REAL)1 / (u * v);
        large[i] = v * inverse, s[i] = q[i] * (u * inverse);
        const V square_root = XE(max)(XE(set1)((REAL)0x1p-40), s[i]); /* whose square cannot underflow */
        square[i] = square_root * square_root, series[i] = XE(set1)(poly[0]);
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
        const V up = XE(andnot)(XE(equal)(a0, zero), XE(max)(zero, z));
        const V down = XE(andnot)(XE(equal)(a1, zero), XE(max)(zero, -z));
        const V p0 = XE(select)(negative, large[i], small), p1 = XE(select)(negative, small, large[i]);
        XE(store)(g + i * VL, a0 * p1 - a1 * p0);
        XE(wide_store)(losses + i * VL, (a0 + a1) * tail + (a0 * up + a1 * down), 0);
        far |= XE(less)(q[i], XE(set1)((REAL)SMALL_REST));
    }
    if (XE_IS_FLOAT && XE(any)(far)) {
        REAL a0[EXPS * VL];
        for (ptrdiff_t i = 0; i < EXPS * VL; i++) a0[i] = t->a0 ? t->a0[r + i] : 1 - t->a1[r + i];
        XE(far_from_zero)(t->z + r, t->a1 + r, a0, losses, g);
    }
    XE_UNROLL
    for (int i = 0; i < EXPS; i++) {
        const V weight = t->weight ? XE(load)(t->weight_real + r + i * VL) : XE(set1)((REAL)t->scale);
        XE(store)(g + i * VL, XE(load)(g + i * VL) * weight);
    }
    VD sum = XE_DOUBLE(set1)(0.0);
    XE_UNROLL
    for (ptrdiff_t i = 0; i < EXPS * VL; i += VLD) {
        const VD weight = t->weight ? XE_DOUBLE(load)(t->weight + r + i) : XE_DOUBLE(set1)(t->scale);
        const VD l = XE_DOUBLE(load)(losses + i) * weight;
        if (loss) XE_DOUBLE(store)(loss + i, l);
        sum += l;
    }
    return sum;
}

/* Computes n rows; g and loss may be NULL. */
XE_HOT double XE(sigmoid_losses)(const XE(two_classes) * rows, ptrdiff_t n, REAL *g, double *loss)
{
    enum { N = EXPS * VL };
    const XE(two_classes) t = *rows;
    REAL unused[N];
    VD sum = XE_DOUBLE(set1)(0.0);
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
    return XE_DOUBLE(reduce_add)(sum);
}

/* Copies of a block of rows, if the arrays of the caller do not have what is needed. */
typedef struct {
    REAL z[LOGIT_ROWS], a1[LOGIT_ROWS], a0[LOGIT_ROWS], weight_real[LOGIT_ROWS];
    double weight[LOGIT_ROWS];
} XE(two_block);

/* Binds the weights of rows i..i + n of a target, each of which serves `run` rows. A row of weight 0 is not read. */
static void XE(apply_weights)(XE(two_classes) * t, const double *s, ptrdiff_t i, ptrdiff_t run, ptrdiff_t n,
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
    if (target->loss.kind != xe_kind_cross_entropy)
        return XE(phi_sigmoid_rows)(target, first, n_rows, z, grad, row_loss);
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
        if (target->sample_weight) XE(apply_weights)(&t, target->sample_weight, i, 1, n, &b);
        sum += XE(sigmoid_losses)(&t, n, grad ? grad + done : NULL, row_loss ? row_loss + done : NULL);
    }
    return sum;
}

static double XE(binary)(XE_BINARY_ARGS(REAL))
{
    enum { N = LOGIT_ROWS };
    const double keep = 1.0 - target->smoothing, share = 0.5 * target->smoothing, *c = target->pos_weight;
    const REAL *y = (const REAL *)target->y + first;
    if (target->loss.kind != xe_kind_cross_entropy) return XE(phi_binary)(target, first, n, z, grad, element_loss);
    XE(two_block) b;
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n; done += N) {
        const ptrdiff_t n_now = n - done < N ? n - done : N, i = first + done;
        XE(two_classes) t = {.z = z + done, .a1 = y + done, .scale = target->scale};
        if (c || target->smoothing != 0.0) {
            for (ptrdiff_t r = 0; r < n_now; r++) {
                b.a1[r] = (REAL)(keep * (double)y[done + r] + share);
                /* computed from y, as 1 - t would round away a target that is nearly 1 */
                b.a0[r] = (REAL)(keep * (1.0 - (double)y[done + r]) + share);
            }
            if (c)
                for (ptrdiff_t r = 0, k = i % target->period; r < n_now; r++, k = k + 1 == target->period ? 0 : k + 1)
                    b.a1[r] = (REAL)((double)b.a1[r] * c[k]);
            t.a1 = b.a1, t.a0 = b.a0;
        }
        if (target->sample_weight) XE(apply_weights)(&t, target->sample_weight, i, target->run, n_now, &b);
        sum += XE(sigmoid_losses)(&t, n_now, grad ? grad + done : NULL, element_loss ? element_loss + done : NULL);
    }
    return sum;
}

#endif
