/* Every kernel for one instruction set and one type, and their table: isa.h says how it is compiled. */
#include "gram.h"
#include "moments.h"
#include "predict.h"
#include "proba_rows.h"
#include "triangular.h"

static size_t XE(linear_packed)(const xe_linear *p)
{
    return p->indptr ? XE(sparse_packed)(p) : XE(dense_packed)(p);
}

static void XE(linear_pack)(const xe_linear *p, const double *coef, const double *intercept, ptrdiff_t begin,
                            ptrdiff_t end, void *to)
{
    (p->indptr ? XE(sparse_pack) : XE(dense_pack))(p, coef, intercept, begin, end, to);
}

static size_t XE(linear_scratch)(const xe_linear *p)
{
    return p->indptr ? XE(sparse_scratch)(p) : XE(dense_scratch)(p);
}

static ptrdiff_t XE(gradient_partial)(const xe_linear *p)
{
    return p->indptr ? XE(sparse_partial)(p) : XE(dense_partial)(p);
}

static ptrdiff_t XE(linear_partial)(const xe_linear *p)
{
    return XE(gradient_partial)(p) + (p->indicator.y ? (p->n_outputs + 7) / 8 * 8 : 0);
}

static double XE(linear_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad)
{
    memset(grad, 0, (size_t)XE(linear_partial)(p) * sizeof(double));
    if (p->indptr) return XE(sparse_rows)(p, begin, end, scratch, grad);
    if (p->n_outputs == 1) return XE(one_output_rows)(p, begin, end, scratch, grad);
    return (XE(is_few)(p) ? XE(few_rows) : XE(many_rows))(p, begin, end, scratch, grad);
}

static void XE(linear_combine)(const xe_linear *p, const double *partials, ptrdiff_t n_partials, ptrdiff_t begin,
                               ptrdiff_t end, double *grad_coef, double *grad_intercept)
{
    enum { TILE = 8 }; /* features whose gradient is a cache line of a dense partial */
    const ptrdiff_t d = p->n_features, R = p->n_outputs, size = XE(linear_partial)(p);
    const ptrdiff_t n_gradient = XE(gradient_partial)(p);
    const ptrdiff_t outputs = XE(is_few)(p) ? R : XE(padded)(R); /* the outputs of a dense partial */
    /* dense partials are (outputs, d'), CSR partials are (d, R') */
    const ptrdiff_t by_feature = p->indptr ? XE(row_stride)(R) : 1, by_output = p->indptr ? 1 : XE(padded)(d);
    if (p->indptr)
        for (ptrdiff_t j = begin; j < end && !p->in_place; j++) {
            const double *from = partials + j * by_feature;
            ptrdiff_t k = 0;
            for (; k + VLD <= R; k += VLD) {
                VD sum = XE_DOUBLE(load)(from + k);
                for (ptrdiff_t q = 1; q < n_partials; q++) sum += XE_DOUBLE(load)(from + q * size + k);
                XE_DOUBLE(store)(grad_coef + j * R + k, sum);
            }
            for (; k < R; k++) {
                double sum = from[k];
                for (ptrdiff_t q = 1; q < n_partials; q++) sum += from[q * size + k];
                grad_coef[j * R + k] = sum;
            }
        }
    else
        for (ptrdiff_t j = begin; j < end; j += TILE) {
            const ptrdiff_t n = end - j < TILE ? end - j : TILE;
            for (ptrdiff_t k = 0; k < R; k++) {
                double sum[TILE] = {0};
                for (ptrdiff_t q = 0; q < n_partials; q++)
                    for (ptrdiff_t i = 0; i < n; i++) sum[i] += partials[q * size + k * by_output + j + i];
                for (ptrdiff_t i = 0; i < n; i++) grad_coef[(j + i) * R + k] = sum[i];
            }
        }
    if (end < d) return;
    for (ptrdiff_t k = 0; k < R; k++) {
        double sum = 0.0;
        for (ptrdiff_t q = 0; q < n_partials; q++)
            sum += partials[q * size + (p->indptr ? n_gradient - by_feature : outputs * by_output) + k];
        grad_intercept[k] = sum;
    }
    for (ptrdiff_t k = 0; p->indicator.y && k < R; k++) {
        double sum = 0.0;
        for (ptrdiff_t q = 0; q < n_partials; q++) sum += partials[q * size + n_gradient + k];
        p->indicator.loss[k] = sum;
    }
}

static void XE(any_moments)(const void *x, const double *weight, const double *center, ptrdiff_t begin, ptrdiff_t end,
                            ptrdiff_t d, double *first, double *second)
{
    XE(moments)((const REAL *)x, weight, center, begin, end, d, first, second);
}

static double XE(any_softmax_rows)(XE_ROWS_ARGS(void), void *scratch)
{
    return XE(softmax_rows)(target, first, n_rows, z, grad, row_loss, scratch);
}

static double XE(any_sigmoid_rows)(XE_ROWS_ARGS(void))
{
    return XE(sigmoid_rows)(target, first, n_rows, z, grad, row_loss);
}

static double XE(any_binary)(XE_BINARY_ARGS(void))
{
    return XE(binary)(target, first, n, z, grad, element_loss);
}

static void XE(any_softmax_hessian)(XE_HESSIAN_ARGS(void))
{
    XE(phi_softmax_hessian)(target, first, n_rows, z, v, out);
}

static void XE(any_sigmoid_hessian)(XE_HESSIAN_ARGS(void))
{
    XE(phi_sigmoid_hessian)(target, first, n_rows, z, v, out);
}

static void XE(any_softmax)(const void *z, ptrdiff_t n_rows, ptrdiff_t n_classes, int kind, void *scratch, void *out)
{
    XE(softmax)(z, n_rows, n_classes, kind, scratch, out);
}

static ptrdiff_t XE(any_bad_distribution)(const void *y, ptrdiff_t n_rows, ptrdiff_t n_classes, double tolerance,
                                          const double *weight)
{
    return XE(bad_distribution)(y, n_rows, n_classes, tolerance, weight);
}

static double XE(any_distribution_mass)(const void *y, ptrdiff_t n_rows, ptrdiff_t n_classes, const double *weight,
                                        const double *class_weight)
{
    return XE(distribution_mass)(y, n_rows, n_classes, weight, class_weight);
}

static ptrdiff_t XE(any_in_unit_interval)(const void *y, ptrdiff_t n)
{
    return XE(in_unit_interval)(y, n);
}

static void XE(any_exp)(const void *x, ptrdiff_t n, void *out)
{
    const REAL *from = (const REAL *)x;
    REAL *to = (REAL *)out;
    for (ptrdiff_t i = 0; i < n; i += VL)
        XE(store_n)(to + i, XE(vexp)(XE(load_n)(from + i, n - i)), n - i);
}

static void XE(any_log)(const double *x, ptrdiff_t n, double *out)
{
    for (ptrdiff_t i = 0; i < n; i += VLD)
        XE_DOUBLE(store_n)(out + i, XE_DOUBLE(log)(XE_DOUBLE(load_n)(x + i, n - i)), n - i);
}

static void XE(any_log1p)(const double *x, ptrdiff_t n, double *out)
{
    for (ptrdiff_t i = 0; i < n; i += VLD)
        XE_DOUBLE(store_n)(out + i, XE_DOUBLE(log1p)(XE_DOUBLE(load_n)(x + i, n - i)), n - i);
}

const xe_kernels XE(xe_kernels) = {
    .is_float = XE_OF_FLOAT,
    .gathers_fast = XE_FAST_GATHERS,
    .linear_packed = XE(linear_packed),
    .linear_pack = XE(linear_pack),
    .linear_scratch = XE(linear_scratch),
    .linear_partial = XE(linear_partial),
    .linear_rows = XE(linear_rows),
    .linear_combine = XE(linear_combine),
    .linear_predict = XE(linear_predict),
    .moments = XE(any_moments),
    .gram_scratch = XE(gram_scratch),
    .gram = XE(gram),
    .rows_scratch = XE(rows_scratch),
    .softmax_rows = XE(any_softmax_rows),
    .sigmoid_rows = XE(any_sigmoid_rows),
    .binary = XE(any_binary),
    .softmax_hessian = XE(any_softmax_hessian),
    .sigmoid_hessian = XE(any_sigmoid_hessian),
    .softmax = XE(any_softmax),
    .proba_rows = XE(proba_rows),
    .bad_distribution = XE(any_bad_distribution),
    .distribution_mass = XE(any_distribution_mass),
    .in_unit_interval = XE(any_in_unit_interval),
    .exp = XE(any_exp),
    .log = XE(any_log),
    .log1p = XE(any_log1p),
    .triangular_packed = XE(triangular_packed),
    .triangular_pack = XE(triangular_pack),
    .triangular_scratch = XE(triangular_scratch),
    .triangular_apply = XE(triangular_apply),
};
