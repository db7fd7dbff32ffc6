/* The cross-entropy of rows, whatever the target: rows of few classes are transposed to columns, rows of many
 * classes are taken one by one. */
#ifndef XENTROPY_CROSS_ENTROPY_H
#define XENTROPY_CROSS_ENTROPY_H

#include "losses.h"
#include "soft_targets.h"
#include "softmax.h"

#define FEW_CLASSES 24 /* up to here, a lane is a row */
#define LOGIT_ROWS 64  /* rows of a user's logits in a block */

/* Writes the losses of rows of few classes, whose logits z are (K, stride), to b, and returns their sum. e becomes
 * the gradient if that is wanted, and is scratch otherwise. targets, of the same shape, is scratch. */
static double XE(column_losses)(const xe_target *t, ptrdiff_t first, ptrdiff_t n, const REAL *z, REAL *e, REAL *targets,
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
                            t->sample_weight ? t->sample_weight + first : NULL, targets, stride);
    XE(mix_columns)(t, padded, z, e, targets, stride, b);
    const double sum = XE(finish_mixed)(padded, b);
    if (wanted) XE(scale_mixed)(K, padded, z, e, targets, stride, b);
    return sum;
}

/* Prepares a row of logits for its distribution or smoothed label, which is row i of the target. */
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

/* Writes the losses of rows of many classes to b, and returns their sum. Row r of z lies at z + r z_stride and has
 * `width` numbers, which are -inf past the K-th. If e is not NULL, the gradient of the row goes to e + r e_row, with
 * its vectors e_step apart. z is not e. */
static double XE(row_losses)(const xe_target *t, ptrdiff_t first, ptrdiff_t n, const REAL *z, ptrdiff_t z_stride,
                             ptrdiff_t width, REAL *e, ptrdiff_t e_row, ptrdiff_t e_step, const XE(block) * b)
{
    enum { N = 16 };
    const ptrdiff_t padded = (n + VL - 1) / VL * VL;
    const int plain = XE(is_plain)(t);
    /* The maxima of some short rows are computed together, so that none waits for its own, and the next rows are
     * prefetched meanwhile. */
    REAL tops[N];
    const ptrdiff_t row_bytes = width * (ptrdiff_t)sizeof(REAL), fitting = 16384 / row_bytes;
    const ptrdiff_t group = row_bytes > 2048 ? 1 : fitting < N ? fitting : N, ahead = XE(ahead)(group * row_bytes);
    double sum = 0.0;
    XE(bind_rows)(t, first, n, padded, b);
    for (ptrdiff_t r = n; r < padded; r++) b->rest[r] = b->gap[r] = 0.0;
    for (ptrdiff_t done = 0; done < n; done += plain ? n : N) {
        const ptrdiff_t stop = plain || done + N > n ? n : done + N;
        XE(mixed) mixed[N];
        for (ptrdiff_t r = done; r < stop; r++) {
            const REAL *z_r = z + r * z_stride;
            if ((r - done) % group == 0)
                for (ptrdiff_t i = r; i < r + group && i < stop; i++)
                    tops[i - r] = XE(row_max)(z + i * z_stride, width);
            const REAL top = tops[(r - done) % group];
            b->rest[r] = b->gap[r] = 0.0;
            if (t->sample_weight && t->sample_weight[first + r] == 0.0) continue;
            const double rest = XE(exp_wide)(z_r, width, top, e ? e + r * e_row : NULL, e_step, &b->end, ahead);
            b->rest[r] = UNDERFLOWS(rest) ? XE(recompute_rest)(z_r, width, top) : rest;
            if (plain)
                b->gap[r] = (double)top - (double)z_r[t->labels[first + r]];
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
                for (ptrdiff_t k = 0; k < width; k += VL, e_r += e_step) XE(store_n)(e_r, XE(set1)(0), width - k);
            else if (plain)
                XE(scale_row)(width, e_r, e_step, t->labels[first + r], r, b);
        }
    }
    return sum;
}

/* The bytes of scratch that a block of a user's logits needs: of few classes, it holds three matrices of columns. */
static size_t XE(rows_scratch)(ptrdiff_t n_classes)
{
    const ptrdiff_t K = n_classes <= FEW_CLASSES ? n_classes : 0;
    return (size_t)(BLOCK_BYTES(LOGIT_ROWS) + 3 * K * LOGIT_ROWS * (ptrdiff_t)sizeof(REAL));
}

/* The same for a user's logits (n, K), any loss and any target. Ignored rows are read as zeros, and their gradient
 * is exactly zero. */
static double XE(softmax_rows)(XE_ROWS_ARGS(REAL), void *scratch)
{
    enum { N = LOGIT_ROWS };
    const ptrdiff_t K = target->n_classes;
    const double *s = target->sample_weight;
    if (target->loss.kind != xe_kind_cross_entropy)
        return XE(phi_softmax_rows)(target, first, n_rows, z, grad, row_loss);
    XE(block) b;
    REAL *columns = (REAL *)XE(init_block)(scratch, N, &b), *exps = columns + K * N, *targets = exps + K * N;
    double sum = 0.0;
    for (ptrdiff_t done = 0; done < n_rows; done += N) {
        const ptrdiff_t n = n_rows - done < N ? n_rows - done : N, i = first + done;
        const REAL *zb = z + done * K;
        REAL *gb = grad ? grad + done * K : NULL;
        if (K <= FEW_CLASSES) {
            XE(rows_to_columns)(zb, n, K, K, s ? s + i : NULL, columns, N);
            sum += XE(column_losses)(target, i, n, columns, exps, targets, N, gb != NULL, &b);
            if (gb) XE(columns_to_rows)(exps, N, n, K, K, gb);
        } else {
            sum += XE(row_losses)(target, i, n, zb, K, K, gb, K, VL, &b);
        }
        if (row_loss) memcpy(row_loss + done, b.loss, (size_t)n * sizeof(double));
    }
    return sum;
}

#endif
