/* The loss of rows of logits, its gradient and its Hessian, for every loss phi. The cross-entropy has faster code.
 *
 *     L = sum_k a_k phi(l_k),   l_k = -log p_k = lse(z) - z_k
 *     dL/dz_j = S p_j - b_j,    b_k = a_k phi'(l_k),   S = sum_k b_k
 *
 * Nothing below subtracts numbers that are nearly equal. With m = argmax z and rest = sum_{k != m} exp(z_k - z_m),
 *     l_k = log1p(rest) + (z_m - z_k)      both terms >= 0, and log1p keeps a loss far below the rounding of 1
 *     p_m - 1 = -rest / (1 + rest)         so the gradient of a row that is nearly right keeps its digits
 */
#ifndef XENTROPY_LOSSES_H
#define XENTROPY_LOSSES_H

#include "phi.h"
#include "vectors.h"

static inline ptrdiff_t XE(argmax)(const REAL *z, ptrdiff_t n)
{
    ptrdiff_t top = 0;
    for (ptrdiff_t k = 1; k < n; k++)
        if (z[k] > z[top]) top = k;
    return top;
}

/* Writes exp(z - z_top) to e if that is not NULL. Returns the sum over the other classes. */
static double XE(exp_row)(const REAL *z, ptrdiff_t n, ptrdiff_t top, REAL *e)
{
    const REAL z_top = z[top];
    double rest = 0.0;
    for (ptrdiff_t k = 0; k < n; k++) {
        const REAL ek = XE_OF_FLOAT ? (REAL)expf((float)(z[k] - z_top)) : (REAL)exp((double)(z[k] - z_top));
        rest += k == top ? 0.0 : (double)ek;
        if (e) e[k] = ek;
    }
    /* a float underflows at exp(-103), but a loss is a double, and must not become 0 before exp(-745) */
    if (sizeof(REAL) < sizeof(double) && rest < 1e-30) {
        rest = 0.0;
        for (ptrdiff_t k = 0; k < n; k++) rest += k == top ? 0.0 : exp((double)z[k] - (double)z_top);
    }
    return rest;
}

static void XE(fill)(REAL *to, ptrdiff_t n, REAL value)
{
    if (to)
        for (ptrdiff_t k = 0; k < n; k++) to[k] = value;
}

/* Returns y_k of row i. */
static inline double XE(target_at)(const xe_target *t, ptrdiff_t i, ptrdiff_t k)
{
    return t->labels ? (double)(t->labels[i] == k) : (double)((const REAL *)t->distribution)[i * t->n_classes + k];
}

/* Returns scale s_i, the weight of row i without its class weight, which is zero for an ignored row. */
static inline double XE(row_weight)(const xe_target *t, ptrdiff_t i)
{
    return t->sample_weight ? t->scale * t->sample_weight[i] : t->scale;
}

/* Returns a_k of row i. The classes that no logit of -inf masks share the smoothing mass. */
static inline double XE(weight)(const xe_target *t, ptrdiff_t i, ptrdiff_t k, double row_weight, double share, REAL zk)
{
    const double smoothed = (1.0 - t->smoothing) * XE(target_at)(t, i, k) + (zk == -INFINITY ? 0.0 : share);
    return smoothed * (t->class_weight ? row_weight * t->class_weight[k] : row_weight);
}

static double XE(smoothing_share)(const xe_target *t, const REAL *z)
{
    if (t->smoothing == 0.0) return 0.0;
    ptrdiff_t n_open = 0;
    for (ptrdiff_t k = 0; k < t->n_classes; k++) n_open += z[k] != -INFINITY;
    return t->smoothing / (double)n_open;
}

/* The loss and gradient g of a label y without smoothing, which has the weight a. */
static double XE(softmax_label)(const xe_loss *loss, ptrdiff_t n, ptrdiff_t y, double a, const REAL *z, REAL *g)
{
    const ptrdiff_t top = XE(argmax)(z, n);
    const double rest = XE(exp_row)(z, n, top, g);
    const xe_phi phi = xe_phi_at(loss, log1p(rest) + ((double)z[top] - (double)z[y]));
    if (g) {
        const double b = a * phi.slope, scale = b / (1.0 + rest);
        for (ptrdiff_t k = 0; k < n; k++) g[k] = (REAL)(scale * (double)g[k]);
        g[y] = (REAL)(y == top ? -rest * scale : (double)g[y] - b); /* if y != top, p_y <= 1/2 and nothing cancels */
    }
    return a == 0.0 ? a * rest : a * phi.value; /* 0 * inf = 0, for a masked class; 0 * NaN stays NaN */
}

/* The loss and gradient g of a distribution or a smoothed label. The weights a_k are computed twice: for the loss
 * and S, then for the gradient. */
static double XE(softmax_mixed)(const xe_target *t, ptrdiff_t i, double row_weight, const REAL *z, REAL *g)
{
    const ptrdiff_t n = t->n_classes, top = XE(argmax)(z, n);
    const double rest = XE(exp_row)(z, n, top, g), tail = log1p(rest), share = XE(smoothing_share)(t, z);
    double value = 0.0, total = 0.0, others = 0.0; /* L, S, and S without the class of the largest logit */
    for (ptrdiff_t pass = 0; pass < (g ? 2 : 1); pass++) {
        for (ptrdiff_t k = 0; k < n; k++) {
            const double a = XE(weight)(t, i, k, row_weight, share, z[k]);
            double b = 0.0;
            if (a != 0.0) { /* 0 * inf = 0: a masked class without weight costs nothing */
                const xe_phi phi = xe_phi_at(&t->loss, tail + ((double)z[top] - (double)z[k]));
                b = a * phi.slope;
                if (pass == 0) value += a * phi.value;
            }
            if (pass == 0) {
                total += b;
                others += k == top ? 0.0 : b;
            } else if (k == top) { /* S p - b = (S - b) p - b (1 - p) */
                g[k] = (REAL)((others - b * rest) / (1.0 + rest));
            } else {
                g[k] = (REAL)(total * (double)g[k] / (1.0 + rest) - b);
            }
        }
    }
    return value + 0.0 * rest; /* if all classes weigh nothing, a NaN in the row still shows */
}

XE_HOT double XE(phi_softmax_rows)(XE_ROWS_ARGS(REAL))
{
    const ptrdiff_t n = target->n_classes;
    const int one_class = target->labels && target->smoothing == 0.0;
    double sum = 0.0;
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const ptrdiff_t i = first + r;
        const REAL *zr = z + r * n;
        REAL *g = grad ? grad + r * n : NULL;
        const double s = XE(row_weight)(target, i);
        double loss;
        if (s == 0.0) { /* an ignored row adds exactly nothing, whatever it holds */
            loss = 0.0;
            XE(fill)(g, n, 0);
        } else if (!isfinite(zr[XE(argmax)(zr, n)])) { /* with a NaN, a +inf, or all -inf there is no distribution */
            loss = NAN;
            XE(fill)(g, n, (REAL)NAN);
        } else if (one_class) {
            const ptrdiff_t y = target->labels[i];
            const double a = target->class_weight ? s * target->class_weight[y] : s;
            loss = XE(softmax_label)(&target->loss, n, y, a, zr, g);
        } else {
            loss = XE(softmax_mixed)(target, i, s, zr, g);
        }
        if (row_loss) row_loss[r] = loss;
        sum += loss;
    }
    return sum;
}

/* Writes H v of one row to out. With q_k = p.v - v_k and c_k = a_k phi''(l_k),
 *     (H v)_j = p_j sum_k c_k q_k - c_j q_j - S p_j q_j.
 * q_m of the largest logit is a sum over the other classes, and so is u_m = 1 - p_m: their ratio is a mean of v_j -
 * v_m, and c_m q_m = a_m (u phi'') (q_m / u_m) stays finite where u_m -> 0 and phi'' -> inf. */
static void XE(softmax_hessian_row)(const xe_target *t, ptrdiff_t i, double row_weight, const REAL *z, const REAL *v,
                                    REAL *out)
{
    const ptrdiff_t n = t->n_classes, top = XE(argmax)(z, n);
    const double rest = XE(exp_row)(z, n, top, out), tail = log1p(rest), share = XE(smoothing_share)(t, z);
    double moment = 0.0; /* sum_{k != m} e_k (v_k - v_m) */
    for (ptrdiff_t k = 0; k < n; k++) moment += k == top ? 0.0 : (double)out[k] * ((double)v[k] - (double)v[top]);
    const double q_top = moment / (1.0 + rest);
    double total = 0.0, others = 0.0, cq_top = 0.0; /* S, sum_{k != m} c_k q_k, c_m q_m */
    for (ptrdiff_t pass = 0; pass < 2; pass++) {
        for (ptrdiff_t k = 0; k < n; k++) {
            const double a = XE(weight)(t, i, k, row_weight, share, z[k]), p = (double)out[k] / (1.0 + rest);
            const double q = k == top ? q_top : q_top + ((double)v[top] - (double)v[k]);
            double cq = 0.0;
            if (a != 0.0) {
                const xe_phi phi = xe_phi_at(&t->loss, tail + ((double)z[top] - (double)z[k]));
                const double q_over_u = k != top ? q / (1.0 - p) : rest > 0.0 ? moment / rest : 0.0;
                cq = a * phi.bend * q_over_u;
                if (pass == 0) total += a * phi.slope;
            }
            if (pass == 0) {
                if (k == top) cq_top = cq;
                else others += cq;
            } else if (k == top) { /* p sum_k c_k q_k - c q, written without 1 - p */
                out[k] = (REAL)((others - cq * rest - total * q) / (1.0 + rest));
            } else {
                out[k] = (REAL)(p * (others + cq_top - total * q) - cq);
            }
        }
    }
}

XE_HOT void XE(phi_softmax_hessian)(XE_HESSIAN_ARGS(REAL))
{
    const ptrdiff_t n = target->n_classes;
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const double s = XE(row_weight)(target, first + r);
        if (s == 0.0) XE(fill)(out + r * n, n, 0);
        else XE(softmax_hessian_row)(target, first + r, s, z + r * n, v + r * n, out + r * n);
    }
}

/* Two classes have one logit z: p_1 = sigmoid(z), l_1 = softplus(-z), l_0 = softplus(z). */
typedef struct {
    double loss, grad, hessian;
} XE(sigmoid);

/* L = a_1 phi(l_1) + a_0 phi(l_0),   dL/dz = a_0 phi'(l_0) p_1 - a_1 phi'(l_1) p_0
 * For the cross-entropy, the form p_1 - y would be 0 at z = 20 in float32. */
static inline XE(sigmoid) XE(sigmoid_at)(const xe_loss *loss, double a1, double a0, double z)
{
    const double e = exp(-fabs(z)), tail = log1p(e), small = e / (1.0 + e), large = 1.0 / (1.0 + e);
    const double p1 = z < 0.0 ? small : large, p0 = z < 0.0 ? large : small;
    XE(sigmoid) out = {0.0, 0.0, 0.0};
    if (a1 != 0.0) {
        const xe_phi phi = xe_phi_at(loss, z < 0.0 ? tail - z : tail);
        out.loss += a1 * phi.value;
        out.grad -= a1 * phi.slope * p0;
        out.hessian += a1 * p0 * (phi.bend + phi.slope * p1);
    }
    if (a0 != 0.0) {
        const xe_phi phi = xe_phi_at(loss, z > 0.0 ? tail + z : tail);
        out.loss += a0 * phi.value;
        out.grad += a0 * phi.slope * p1;
        out.hessian += a0 * p1 * (phi.bend + phi.slope * p0);
    }
    if (isnan(z) && (a1 != 0.0 || a0 != 0.0)) out.loss = out.grad = out.hessian = NAN;
    return out;
}

static inline XE(sigmoid) XE(sigmoid_row)(const xe_target *t, ptrdiff_t i, REAL z)
{
    const double s = XE(row_weight)(t, i), share = 0.5 * t->smoothing;
    if (s == 0.0) return (XE(sigmoid)){0.0, 0.0, 0.0};
    return XE(sigmoid_at)(&t->loss, XE(weight)(t, i, 1, s, share, 0), XE(weight)(t, i, 0, s, share, 0), (double)z);
}

XE_HOT double XE(phi_sigmoid_rows)(XE_ROWS_ARGS(REAL))
{
    double sum = 0.0;
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const XE(sigmoid) row = XE(sigmoid_row)(target, first + r, z[r]);
        if (grad) grad[r] = (REAL)row.grad;
        if (row_loss) row_loss[r] = row.loss;
        sum += row.loss;
    }
    return sum;
}

XE_HOT void XE(phi_sigmoid_hessian)(XE_HESSIAN_ARGS(REAL))
{
    for (ptrdiff_t r = 0; r < n_rows; r++)
        out[r] = (REAL)(XE(sigmoid_row)(target, first + r, z[r]).hessian * (double)v[r]);
}

XE_HOT double XE(phi_binary)(XE_BINARY_ARGS(REAL))
{
    const double keep = 1.0 - target->smoothing, share = 0.5 * target->smoothing;
    const REAL *y = (const REAL *)target->y + first;
    double sum = 0.0;
    for (ptrdiff_t r = 0; r < n; r++) {
        const ptrdiff_t i = first + r;
        const double s = target->scale * (target->sample_weight ? target->sample_weight[i / target->run] : 1.0);
        const double c = target->pos_weight ? target->pos_weight[i % target->period] : 1.0;
        XE(sigmoid) element = {0.0, 0.0, 0.0};
        if (s != 0.0) {
            const double yi = (double)y[r];
            const double a1 = s * c * (keep * yi + share), a0 = s * (keep * (1.0 - yi) + share);
            element = XE(sigmoid_at)(&target->loss, a1, a0, (double)z[r]);
        }
        if (grad) grad[r] = (REAL)element.grad;
        if (element_loss) element_loss[r] = element.loss;
        sum += element.loss;
    }
    return sum;
}

#endif
