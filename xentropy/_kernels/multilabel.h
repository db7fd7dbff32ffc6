/* Independent binary targets of a linear model: each output has its own sigmoid and its own label.
 *
 * The loss of row i in output k is that of sigmoid.h, with the weights
 *     a_1 = scale s_i positive_k t,   a_0 = scale s_i negative_k (1 - t),   t = (1 - smoothing) y_ik + smoothing / 2,
 * which are 0 where y_ik is missing. The losses are summed output by output, as each is a problem of its own.
 */
#ifndef XENTROPY_MULTILABEL_H
#define XENTROPY_MULTILABEL_H

#include "sigmoid.h"

#define MOST_ELEMENTS 256 /* at a time, so that they fit on a small stack; a dense block has no more rows */

typedef struct {
    double y[MOST_ELEMENTS], weight[MOST_ELEMENTS], loss[MOST_ELEMENTS];
    REAL a1[MOST_ELEMENTS], a0[MOST_ELEMENTS], weight_real[MOST_ELEMENTS];
} XE(elements);

/* `call` has the type of y, and the value of y_at as a double, which is -1 where it is missing. */
#define EACH_TYPE_OF_Y(t, call)                        \
    if ((t)->y_bytes == 1) {                           \
        call(uint8_t, y_at > 1 ? -1.0 : (double)y_at)  \
    } else if ((t)->y_bytes == 4) {                    \
        call(float, isnan(y_at) ? -1.0 : (double)y_at) \
    } else {                                           \
        call(double, isnan(y_at) ? -1.0 : y_at)        \
    }

/* Reads output k of rows first..first + n. */
static void XE(labels_of_output)(const xe_indicator *t, ptrdiff_t first, ptrdiff_t n, ptrdiff_t k, double *to)
{
#define COLUMN(type, value)                                            \
    const type *y = (const type *)t->y + first * t->n_labels + t->label[k]; \
    for (ptrdiff_t r = 0; r < n; r++) {                                \
        const type y_at = y[r * t->n_labels];                          \
        to[r] = value;                                                 \
    }
    EACH_TYPE_OF_Y(t, COLUMN)
#undef COLUMN
}

/* Reads outputs k..k + n of row i, of which those from the R-th on are missing. */
static void XE(labels_of_row)(const xe_indicator *t, ptrdiff_t i, ptrdiff_t k, ptrdiff_t n, ptrdiff_t R, double *to)
{
    const ptrdiff_t known = R - k < n ? R - k : n;
#define ROW(type, value)                                  \
    const type *y = (const type *)t->y + i * t->n_labels; \
    for (ptrdiff_t j = 0; j < known; j++) {               \
        const type y_at = y[t->label[k + j]];             \
        to[j] = value;                                    \
    }
    EACH_TYPE_OF_Y(t, ROW)
#undef ROW
    for (ptrdiff_t j = known; j < n; j++) to[j] = -1.0;
}

/* Computes the gradient g of n elements, from what `e` says of their targets and weights, and their losses, if
 * `loss` is not NULL. Returns the sum of these. */
static double XE(element_losses)(const xe_target *target, XE(elements) * e, ptrdiff_t n, const REAL *z, REAL *g,
                                 double *loss, const XE(block) * b)
{
    const int weighted = target->sample_weight != NULL;
    double sum = 0.0;
    if (target->loss.kind == xe_kind_cross_entropy) {
        if (weighted)
            for (ptrdiff_t i = 0; i < n; i++) e->weight_real[i] = (REAL)e->weight[i];
        const XE(two_classes) t = {z, e->a1, e->a0, weighted ? e->weight : NULL, e->weight_real, target->scale};
        sum = XE(sigmoid_losses)(&t, n, g, loss);
    } else {
        for (ptrdiff_t i = 0; i < n; i++) {
            const double s = weighted ? e->weight[i] : target->scale;
            const XE(sigmoid) at = XE(sigmoid_at)(&target->loss, s * (double)e->a1[i], s * (double)e->a0[i], (double)z[i]);
            g[i] = (REAL)at.grad, sum += at.loss;
            if (loss) loss[i] = at.loss;
        }
    }
    XE(flush_tiny)(g, n, b);
    return sum;
}

/* Rows first..first + n with logits z (R, stride): writes their gradient to g (R, stride), and adds their losses to
 * loss (R). */
static void XE(label_columns)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n, const REAL *z, REAL *g,
                              ptrdiff_t stride, double *loss, const XE(block) * b)
{
    const xe_target *target = &p->target;
    const xe_indicator *t = &p->indicator;
    const double keep = 1.0 - target->smoothing, share = 0.5 * target->smoothing;
    XE(elements) e;
    if (target->sample_weight)
        for (ptrdiff_t r = 0; r < n; r++) e.weight[r] = target->scale * target->sample_weight[first + r];
    for (ptrdiff_t k = 0; k < p->n_outputs; k++, z += stride, g += stride) {
        const double positive = t->positive[k], negative = t->negative[k];
        if (t->y_bytes == 1) { /* of which there are three */
            const uint8_t *y = (const uint8_t *)t->y + first * t->n_labels + t->label[k];
            const REAL a1[] = {(REAL)(share * positive), (REAL)((keep + share) * positive), 0};
            const REAL a0[] = {(REAL)((keep + share) * negative), (REAL)(share * negative), 0};
            for (ptrdiff_t r = 0; r < n; r++) {
                const unsigned at = y[r * t->n_labels] > 1 ? 2 : y[r * t->n_labels];
                e.a1[r] = a1[at], e.a0[r] = a0[at];
            }
        } else {
            XE(labels_of_output)(t, first, n, k, e.y);
            for (ptrdiff_t r = 0; r < n; r++) {
                const double y = e.y[r];
                e.a1[r] = (REAL)(y < 0.0 ? 0.0 : (keep * y + share) * positive);
                e.a0[r] = (REAL)(y < 0.0 ? 0.0 : (keep * (1.0 - y) + share) * negative);
            }
        }
        loss[k] += XE(element_losses)(target, &e, n, z, g, NULL, b);
    }
}

/* The same with z and g (n, width), whose columns from the R-th on are padding with a gradient of 0. */
static void XE(label_rows)(const xe_linear *p, ptrdiff_t first, ptrdiff_t n, const REAL *z, REAL *g, ptrdiff_t width,
                           double *loss, const XE(block) * b)
{
    enum { M = MOST_ELEMENTS };
    const xe_target *target = &p->target;
    const xe_indicator *t = &p->indicator;
    const double keep = 1.0 - target->smoothing, share = 0.5 * target->smoothing;
    const ptrdiff_t R = p->n_outputs, n_k = width < M ? width : M, step = M / n_k;
    XE(elements) e;
    for (ptrdiff_t r = 0; r < n; r += step) {
        const ptrdiff_t n_r = n - r < step ? n - r : step;
        for (ptrdiff_t k = 0; k < width; k += n_k) { /* more than once only if a row fills the elements by itself */
            const ptrdiff_t w = width - k < n_k ? width - k : n_k, known = R - k < w ? R - k : w;
            for (ptrdiff_t i = 0; i < n_r; i++) {
                double *y = e.y + i * w;
                XE(labels_of_row)(t, first + r + i, k, w, R, y);
                for (ptrdiff_t j = 0; j < w; j++) {
                    const double positive = j < known ? t->positive[k + j] : 0.0;
                    const double negative = j < known ? t->negative[k + j] : 0.0;
                    e.a1[i * w + j] = (REAL)(y[j] < 0.0 ? 0.0 : (keep * y[j] + share) * positive);
                    e.a0[i * w + j] = (REAL)(y[j] < 0.0 ? 0.0 : (keep * (1.0 - y[j]) + share) * negative);
                }
                if (target->sample_weight)
                    for (ptrdiff_t j = 0; j < w; j++)
                        e.weight[i * w + j] = target->scale * target->sample_weight[first + r + i];
            }
            XE(element_losses)(target, &e, n_r * w, z + r * width + k, g + r * width + k, e.loss, b);
            for (ptrdiff_t i = 0; i < n_r; i++)
                for (ptrdiff_t j = 0; j < known; j++) loss[k + j] += e.loss[i * w + j];
        }
    }
}

#endif
