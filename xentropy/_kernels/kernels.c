/* Each template, once for float and once for double. */
#include "kernels.h"
#include "phi.h"

#include <math.h>
#include <string.h>

#define XE_PASTE_(name, suffix) name##_##suffix
#define XE_PASTE(name, suffix) XE_PASTE_(name, suffix)
#define XE(name) XE_PASTE(name, REAL)

#define REAL float
#define EXP expf
#include "losses.h"
#include "linear.h"
#undef REAL
#undef EXP

#define REAL double
#define EXP exp
#include "losses.h"
#include "linear.h"
#undef REAL
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
