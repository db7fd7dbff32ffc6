/* Each template, once for float and once for double. */
#include "kernels.h"

#include <math.h>
#include <string.h>

#define XE_PASTE_(name, suffix) name##_##suffix
#define XE_PASTE(name, suffix) XE_PASTE_(name, suffix)
#define XE(name) XE_PASTE(name, REAL)

#include "labels.h"

#if defined(__GNUC__)
#define XE_PREFETCH(address) __builtin_prefetch(address, 0, 2)
#else
#define XE_PREFETCH(address) ((void)0)
#endif

static inline double xe_clip(double p, double low, double high)
{
    p = p < low ? low : p; /* one instruction each */
    return p > high ? high : p;
}

/* row is the first of its kind, or came after one */
static inline void xe_note(ptrdiff_t *flaw, ptrdiff_t row)
{
    if (*flaw < 0) *flaw = row;
}

/* -sum log q, one logarithm for GROUP numbers: with Q their product and U = 1 - Q, both built without subtracting what
 * is nearly equal, log1p(-U) is right to a few units in the last place however near to 1 they all are. */
static double xe_sum_neg_log(const double *q, ptrdiff_t n)
{
    enum { GROUP = 16 };
    double sum = 0.0;
    for (ptrdiff_t first = 0; first < n; first += GROUP) {
        const ptrdiff_t end = n - first < GROUP ? n : first + GROUP;
        double product = 1.0, rest = 0.0, least = 1.0;
        for (ptrdiff_t i = first; i < end; i++) {
            rest += (1.0 - q[i]) * product;
            product *= q[i];
            least = q[i] < least ? q[i] : least;
        }
        if (least > 1e-19) { /* no product underflows: 1e-19^16 = 1e-304 */
            sum -= product > 0.5 ? log1p(-rest) : log(product);
        } else {
            for (ptrdiff_t i = first; i < end; i++) sum -= log(q[i]);
        }
    }
    return sum;
}

#define REAL float
#define BITS uint32_t
#define EXP expf
#include "losses.h"
#include "linear.h"
#include "proba.h"
#undef REAL
#undef BITS
#undef EXP

#define REAL double
#define BITS uint64_t
#define EXP exp
#include "losses.h"
#include "linear.h"
#include "proba.h"
#undef REAL
#undef BITS
#undef EXP

void xe_linear_combine(const xe_linear *p, const double *partials, ptrdiff_t n_partials, double *grad_coef,
                       double *grad_intercept)
{
    const ptrdiff_t d = p->n_features, R = p->n_outputs, size = R * (d + 1);
    /* dense partials are (R, d), CSR partials (d, R): see linear.h */
    const ptrdiff_t by_feature = p->indptr ? R : 1, by_output = p->indptr ? 1 : d;
    for (ptrdiff_t j = 0; j < d; j++)
        for (ptrdiff_t k = 0; k < R; k++) {
            const double *from = partials + j * by_feature + k * by_output;
            double sum = from[0];
            for (ptrdiff_t q = 1; q < n_partials; q++) sum += from[q * size];
            grad_coef[j * R + k] = sum;
        }
    for (ptrdiff_t k = 0; k < R; k++) {
        const double *from = partials + R * d + k;
        double sum = from[0];
        for (ptrdiff_t q = 1; q < n_partials; q++) sum += from[q * size];
        grad_intercept[k] = sum;
    }
}
