/* Cross-entropy of rows of logits, and its gradient. A template: REAL is float or double, XE(name) adds the suffix.
 *
 *     L = sum_k a_k l_k,   l_k = -log p_k = lse(z) - z_k,   dL/dz_j = T p_j - a_j,   T = sum_k a_k
 *
 * Nothing below subtracts numbers that are nearly equal. With m = argmax z and rest = sum_{k != m} exp(z_k - z_m),
 *     l_k = log1p(rest) + (z_m - z_k)      both terms >= 0, and log1p keeps a loss far below the rounding of 1
 *     p_m - 1 = -rest / (1 + rest)         so the gradient of a row that is nearly right keeps its digits
 */

static inline ptrdiff_t XE(argmax)(const REAL *z, ptrdiff_t n)
{
    ptrdiff_t top = 0;
    for (ptrdiff_t k = 1; k < n; k++)
        if (z[k] > z[top]) top = k;
    return top;
}

/* exp(z - z_top) into e where it is not NULL; returns the sum without the top. */
static double XE(exp_row)(const REAL *z, ptrdiff_t n, ptrdiff_t top, REAL *e)
{
    const REAL z_top = z[top];
    double rest = 0.0;
    for (ptrdiff_t k = 0; k < n; k++) {
        const REAL ek = EXP(z[k] - z_top);
        rest += k == top ? 0.0 : (double)ek;
        if (e) e[k] = ek;
    }
    /* float runs out of exponents at exp(-103); a loss is a double and must not become 0 before exp(-745) */
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

/* t_k of row i, unsmoothed */
static inline double XE(asked)(const xe_target *t, ptrdiff_t i, ptrdiff_t k)
{
    return t->labels ? (double)(t->labels[i] == k) : (double)((const REAL *)t->distribution)[i * t->n_classes + k];
}

/* A label without smoothing asks for one class: a_y = a, so T = a. */
static double XE(softmax_label)(ptrdiff_t n, ptrdiff_t y, double a, const REAL *z, REAL *g)
{
    const ptrdiff_t top = XE(argmax)(z, n);
    const double rest = XE(exp_row)(z, n, top, g);
    if (g) {
        const double scale = a / (1.0 + rest);
        for (ptrdiff_t k = 0; k < n; k++) g[k] = (REAL)(scale * (double)g[k]);
        g[y] = (REAL)(y == top ? -rest * scale : (double)g[y] - a); /* y != top: p_y <= 1/2, nothing cancels */
    }
    return a * (log1p(rest) + ((double)z[top] - (double)z[y]));
}

/* A distribution, or a smoothed label. The weights a_k are needed twice: once for the loss, once for the gradient. */
static double XE(softmax_mixed)(const xe_target *t, ptrdiff_t i, double s, const REAL *z, REAL *g)
{
    const ptrdiff_t n = t->n_classes, top = XE(argmax)(z, n);
    const double rest = XE(exp_row)(z, n, top, g), tail = log1p(rest);

    double share = 0.0; /* the smoothing mass goes to the classes that are not masked by a logit of -inf */
    if (t->smoothing != 0.0) {
        ptrdiff_t n_open = 0;
        for (ptrdiff_t k = 0; k < n; k++) n_open += z[k] != -INFINITY;
        share = t->smoothing / (double)n_open;
    }
    double total = 0.0, others = 0.0, gaps = 0.0; /* sum a_k; the same without the top; sum a_k (z_top - z_k) */
    for (ptrdiff_t pass = 0; pass < (g ? 2 : 1); pass++) {
        for (ptrdiff_t k = 0; k < n; k++) {
            double a = (1.0 - t->smoothing) * XE(asked)(t, i, k) + (z[k] == -INFINITY ? 0.0 : share);
            a *= t->class_weight ? s * t->class_weight[k] : s;
            if (pass == 0) {
                if (a == 0.0) continue; /* 0 * inf = 0: a masked class that nobody asks for costs nothing */
                total += a;
                others += k == top ? 0.0 : a;
                gaps += a * ((double)z[top] - (double)z[k]);
            } else if (k == top) { /* T p - a = (T - a) p - a (1 - p) */
                g[k] = (REAL)((others - a * rest) / (1.0 + rest));
            } else {
                g[k] = (REAL)(total * (double)g[k] / (1.0 + rest) - a);
            }
        }
    }
    return total * tail + gaps;
}

double XE(xe_softmax_rows)(XE_ROWS_ARGS(REAL))
{
    const ptrdiff_t n = target->n_classes;
    double sum = 0.0;
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const ptrdiff_t i = first + r;
        const REAL *zr = z + r * n;
        REAL *g = grad ? grad + r * n : NULL;
        const double s = target->sample_weight ? target->sample_weight[i] : 1.0;
        double loss;
        if (s == 0.0) { /* an ignored row: whatever it holds, it adds exactly nothing */
            loss = 0.0;
            XE(fill)(g, n, 0);
        } else if (!isfinite(zr[XE(argmax)(zr, n)])) { /* a NaN, a +inf, or all -inf: there is no distribution */
            loss = NAN;
            XE(fill)(g, n, (REAL)NAN);
        } else if (target->labels && target->smoothing == 0.0) {
            const ptrdiff_t y = target->labels[i];
            loss = XE(softmax_label)(n, y, target->class_weight ? s * target->class_weight[y] : s, zr, g);
        } else {
            loss = XE(softmax_mixed)(target, i, s, zr, g);
        }
        if (row_loss) row_loss[r] = loss;
        sum += loss;
    }
    return sum;
}

/* Two classes, one logit z for class 1:  L = a_1 softplus(-z) + a_0 softplus(z),
 * dL/dz = a_0 sigmoid(z) - a_1 sigmoid(-z)  (the form sigmoid(z) - y is 0 at z = 20 in float32). */
double XE(xe_sigmoid_rows)(XE_ROWS_ARGS(REAL))
{
    const double keep = 1.0 - target->smoothing, share = 0.5 * target->smoothing;
    const double *w = target->class_weight;
    double sum = 0.0;
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const ptrdiff_t i = first + r;
        const double s = target->sample_weight ? target->sample_weight[i] : 1.0;
        double loss = 0.0, g = 0.0;
        if (s != 0.0) {
            const double a0 = (keep * XE(asked)(target, i, 0) + share) * (w ? s * w[0] : s);
            const double a1 = (keep * XE(asked)(target, i, 1) + share) * (w ? s * w[1] : s);
            const double zi = z[r], q = exp(-fabs(zi));
            const double tail = log1p(q), small = q / (1.0 + q), large = 1.0 / (1.0 + q);
            if (a1 != 0.0) loss += a1 * (zi < 0.0 ? tail - zi : tail);
            if (a0 != 0.0) loss += a0 * (zi > 0.0 ? tail + zi : tail);
            g = zi < 0.0 ? a0 * small - a1 * large : a0 * large - a1 * small;
            if (isnan(zi)) loss = g = NAN;
        }
        if (grad) grad[r] = (REAL)g;
        if (row_loss) row_loss[r] = loss;
        sum += loss;
    }
    return sum;
}

void XE(xe_softmax)(const REAL *z, ptrdiff_t n_rows, ptrdiff_t n_classes, int log, REAL *out)
{
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const REAL *zr = z + r * n_classes;
        REAL *o = out + r * n_classes;
        const ptrdiff_t top = XE(argmax)(zr, n_classes);
        const double z_top = zr[top];
        if (!isfinite(z_top)) {
            XE(fill)(o, n_classes, (REAL)NAN);
            continue;
        }
        const double rest = XE(exp_row)(zr, n_classes, top, log ? NULL : o), tail = log1p(rest);
        if (isnan(rest)) { /* a NaN that is not the top: no class of the row has a probability */
            XE(fill)(o, n_classes, (REAL)NAN);
            continue;
        }
        for (ptrdiff_t k = 0; k < n_classes; k++)
            o[k] = log ? (REAL)(((double)zr[k] - z_top) - tail) : (REAL)((double)o[k] / (1.0 + rest));
    }
}
