/* Logits, probabilities, their logarithms or the most probable class, from a user's logits or from a linear model, a
 * block of rows at a time.
 *
 *     p_k = e_k / (1 + rest),   log p_k = (z_k - m) - log1p(rest)
 */
#ifndef XENTROPY_PREDICT_H
#define XENTROPY_PREDICT_H

#include "dense_few.h"
#include "dense_many.h"
#include "dense_one.h"
#include "sparse.h"

/* Writes out (n, K) from z (K, stride); e (K, stride) and b are scratch. A row without a distribution becomes NaN. */
static void XE(columns_out)(int kind, ptrdiff_t n_classes, ptrdiff_t n, const REAL *z, REAL *e, ptrdiff_t stride,
                            const XE(block) * b, REAL *out)
{
    const ptrdiff_t padded = XE(padded)(n);
    if (kind != XE_LOGITS) {
        memset(b->label, 0, (size_t)padded * sizeof(REAL)); /* the gaps are not used */
        XE(exp_columns)(n_classes, padded, z, e, stride, b);
        for (ptrdiff_t r = 0; r < padded; r += VLD) {
            const VD rest = XE_DOUBLE(load)(b->rest + r);
            XE(narrow)(b->scale + r, kind == XE_PROBABILITIES ? 1.0 / (1.0 + rest) : XE_DOUBLE(log1p)(rest));
        }
        for (ptrdiff_t r = 0; r < padded; r += VL) {
            const V scale = XE(load)(b->scale + r);
            V m = XE(load)(z + r);
            for (ptrdiff_t k = 1; k < n_classes; k++) m = XE(max)(XE(load)(z + k * stride + r), m);
            for (ptrdiff_t k = 0; k < n_classes; k++) {
                REAL *e_k = e + k * stride + r;
                XE(store)(e_k, kind == XE_PROBABILITIES ? XE(load)(e_k) * scale
                                                        : (XE(load)(z + k * stride + r) - m) - scale);
            }
        }
        z = e;
    }
    XE(columns_to_rows)(z, stride, n, n_classes, n_classes, out);
}

/* Writes one row from K logits; out may be z. */
static void XE(row_out)(int kind, ptrdiff_t n_classes, const REAL *z, REAL *out)
{
    if (kind == XE_LOGITS) {
        if (out != z) memcpy(out, z, (size_t)n_classes * sizeof(REAL));
        return;
    }
    const XE(exp_end) end = XE(exp_ends)(1);
    const REAL top = XE(row_max)(z, n_classes);
    const double rest = XE(exp_wide)(z, n_classes, top, kind == XE_PROBABILITIES ? out : NULL, VL, &end,
                                     XE(ahead)(n_classes * (ptrdiff_t)sizeof(REAL)));
    const V scale = XE(set1)((REAL)(kind == XE_PROBABILITIES ? 1.0 / (1.0 + rest) : log1p(rest)));
    const V m = XE(set1)(top);
    for (ptrdiff_t k = 0; k < n_classes; k += VL) {
        const ptrdiff_t n = n_classes - k;
        const V z_k = n >= VL ? XE(load)(z + k) : XE(load_n)(z + k, n), o_k = XE(load_n)(out + k, n);
        const V p_k = kind == XE_PROBABILITIES ? o_k * scale : (z_k - m) - scale;
        if (n >= VL)
            XE(store)(out + k, p_k);
        else
            XE(store_n)(out + k, p_k, n);
    }
}

static void XE(softmax)(const REAL *z, ptrdiff_t n_rows, ptrdiff_t n_classes, int kind, void *scratch, REAL *out)
{
    enum { N = LOGIT_ROWS };
    XE(block) b;
    REAL *columns = (REAL *)XE(init_block)(scratch, N, &b), *exps = columns + n_classes * N;
    if (n_classes > FEW_CLASSES) {
        for (ptrdiff_t r = 0; r < n_rows; r++) XE(row_out)(kind, n_classes, z + r * n_classes, out + r * n_classes);
        return;
    }
    for (ptrdiff_t done = 0; done < n_rows; done += N) {
        const ptrdiff_t n = n_rows - done < N ? n_rows - done : N;
        XE(rows_to_columns)(z + done * n_classes, n, n_classes, n_classes, NULL, columns, N);
        XE(columns_out)(kind, n_classes, n, columns, exps, N, &b, out + done * n_classes);
    }
}

/* Writes out (n, 2), or (n) for logits, from the logits z (n) of class 1, which has numbers up to the end of the
 * last vector. columns (2, stride) is scratch. */
XE_HOT void XE(sigmoid_out)(int kind, ptrdiff_t n, const REAL *z, REAL *columns, ptrdiff_t stride, REAL *out)
{
    if (kind == XE_LOGITS) {
        memcpy(out, z, (size_t)n * sizeof(REAL));
        return;
    }
    for (ptrdiff_t r = 0; r < n; r += VLD) {
        const VD z_r = XE(widen)(z + r), zero = XE_DOUBLE(set1)(0.0), x = XE_DOUBLE(min)(-z_r, z_r);
        VD out0, out1;
        if (kind == XE_PROBABILITIES) {
            const XE_DOUBLE(mask) negative = XE_DOUBLE(less)(z_r, zero);
            VD large;
            const VD small = XE_DOUBLE(sigmoid_pair)(x, &large);
            out0 = XE_DOUBLE(select)(negative, large, small);
            out1 = XE_DOUBLE(select)(negative, small, large);
        } else {
            const VD tail = XE_DOUBLE(log1p)(XE_DOUBLE(vexp)(x));
            out0 = -(tail + XE_DOUBLE(max)(zero, z_r));
            out1 = -(tail + XE_DOUBLE(max)(zero, -z_r));
        }
        XE(narrow)(columns + r, out0);
        XE(narrow)(columns + stride + r, out1);
    }
    XE(columns_to_rows)(columns, stride, n, 2, 2, out);
}

/* Writes the class of each row's largest logit, the first one if several are equal, from z (K, stride). */
XE_HOT void XE(argmax_columns)(ptrdiff_t n_classes, ptrdiff_t n, const REAL *z, ptrdiff_t stride, ptrdiff_t *out)
{
    const V one = XE(set1)(1);
    for (ptrdiff_t r = 0; r < n; r += VL) {
        V best = XE(load)(z + r), top = XE(set1)(0), class_k = top;
        for (ptrdiff_t k = 1; k < n_classes; k++) {
            const V z_k = XE(load)(z + k * stride + r);
            const M above = XE(less)(best, z_k);
            class_k += one;
            best = XE(select)(above, z_k, best);
            top = XE(select)(above, class_k, top);
        }
        REAL lanes[VL];
        XE(store)(lanes, top);
        for (ptrdiff_t i = 0; i < VL && r + i < n; i++) out[r + i] = (ptrdiff_t)lanes[i];
    }
}

/* The same for rows of logits, or for one logit of class 1 of two. */
static void XE(argmax_rows)(int sigmoid, ptrdiff_t n_outputs, ptrdiff_t n, const REAL *z, ptrdiff_t row_stride,
                            ptrdiff_t *out)
{
    for (ptrdiff_t r = 0; r < n; r++, z += row_stride) out[r] = sigmoid ? z[0] > 0 : XE(argmax)(z, n_outputs);
}

/* Returns whether `height` times `width` numbers are finite; rows are `stride` apart. */
static int XE(are_finite)(const REAL *z, ptrdiff_t height, ptrdiff_t width, ptrdiff_t stride)
{
    const V zero = XE(set1)(0);
    V sum = zero; /* adds 0 for a finite number, otherwise NaN */
    for (ptrdiff_t i = 0; i < height; i++, z += stride) {
        ptrdiff_t j = 0;
        for (; j + VL <= width; j += VL) sum += XE(load)(z + j) * zero;
        if (j < width) sum += XE(load_n)(z + j, width - j) * zero;
    }
    return XE(reduce_add)(sum) == 0;
}

/* Writes rows begin..end of a linear model to out, which is (n_rows, K), or (n_rows, R) for logits, or ptrdiff_t
 * (n_rows) for classes. Returns whether all logits are finite, as a NaN or an infinity of X shows in them. */
static int XE(linear_predict)(const xe_linear *p, int kind, ptrdiff_t begin, ptrdiff_t end, void *scratch, void *out)
{
    const ptrdiff_t R = p->n_outputs, K = p->target.n_classes;
    const ptrdiff_t width = kind == XE_CLASSES ? 0 : kind == XE_LOGITS ? R : K;
    const ptrdiff_t stride = XE(block_stride)(p);
    const int by_class = !p->indptr && XE(is_few)(p); /* logits are (R, stride), otherwise rows */
    const ptrdiff_t row = p->indptr ? XE(row_stride)(R) : by_class ? 1 : XE(padded)(R);
    XE(block) b;
    REAL *z = (REAL *)XE(init_block)(scratch, stride, &b), *e = z + stride * XE(padded)(R) + VL;
    REAL *rows = e + stride * XE(padded)(R) + VL, *panel = rows + stride * XE(padded)(p->n_features);
    int finite = 1;
    for (ptrdiff_t first = begin; first < end; first += p->block_rows) {
        const ptrdiff_t n = end - first < p->block_rows ? end - first : p->block_rows;
        REAL *to = (REAL *)out + first * width;
        if (p->indptr) {
            XE(sparse_logits)(p, first, n, z);
        } else {
            XE(rows) x = XE(dense_block)(p, first, n, rows);
            x.share *= 2; /* no gradient prefetches the other half of the next block */
            if (R == 1) {
                XE(one_logits)(p, first, x, n, rows, z);
            } else if (by_class) {
                XE(few_logits)(p, first, x, n, rows, z, stride, panel);
            } else {
                if (x.x == rows) XE(copy_rows)(p, first, 0, n, 0, x.n_features, rows);
                XE(many_logits)(p, x, n, z, row);
            }
        }
        finite &= by_class ? XE(are_finite)(z, R, n, stride) : XE(are_finite)(z, n, R, row);
        if (kind == XE_CLASSES) {
            if (by_class && R == K)
                XE(argmax_columns)(K, n, z, stride, (ptrdiff_t *)out + first);
            else
                XE(argmax_rows)(R < K, R, n, z, row, (ptrdiff_t *)out + first);
        } else if (R < K) {
            XE(sigmoid_out)(kind, n, z, e, stride, to);
        } else if (by_class) {
            XE(columns_out)(kind, K, n, z, e, stride, &b, to);
        } else if (kind != XE_LOGITS && XE(is_few)(p)) {
            XE(rows_to_columns)(z, n, row, K, NULL, rows, stride);
            XE(columns_out)(kind, K, n, rows, e, stride, &b, to);
        } else {
            for (ptrdiff_t r = 0; r < n; r++) {
                memcpy(to + r * K, z + r * row, (size_t)K * sizeof(REAL));
                XE(row_out)(kind, K, to + r * K, to + r * K);
            }
        }
    }
    return finite;
}

#endif
