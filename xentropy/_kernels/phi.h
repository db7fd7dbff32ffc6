/* The losses: each is a function phi of l = -log p, the cross-entropy of one class. This is their one place in C.
 *
 *     L = sum_k a_k phi(l_k),   dL/dz_j = p_j sum_k a_k phi'(l_k) - a_j phi'(l_j)
 *
 * Written with p = exp(-l) and u = 1 - p = -expm1(-l), which keeps its digits as l -> 0; every value is finite there,
 * for every parameter, and at l = inf it is the limit.
 */
#ifndef XENTROPY_PHI_H
#define XENTROPY_PHI_H

#include "kernels.h"

#include <math.h>

typedef struct {
    double value; /* phi(l) */
    double slope; /* phi'(l) */
    double bend;  /* u phi''(l): phi'' itself is infinite at l = 0 for a focal loss with gamma < 1 */
} xe_phi;

/* l - u = l + expm1(-l), which is l^2/2 - l^3/6 + ... and would cancel where l is small */
static inline double xe_excess(double l)
{
    if (!(l < 0.5)) return l + expm1(-l);
    double series = 1.0;
    for (int j = 15; j > 2; j--) series = 1.0 - l / j * series;
    return 0.5 * l * l * series;
}

static inline xe_phi xe_phi_at(const xe_loss *loss, double l)
{
    const double a = loss->param[0], b = loss->param[1];
    switch (loss->kind) {
    case XE_FOCAL: { /* u^a l: Lin et al. 2017, arXiv:1708.02002, eq. 4 */
        const double p = exp(-l), u = -expm1(-l), ua = pow(u, a);
        const double ratio = l == 0.0 ? 1.0 : l / u, p_ratio = isinf(l) ? 0.0 : p * ratio;
        return (xe_phi){ua * l, ua * (1.0 + a * p_ratio), a * ua * (2.0 * p - p_ratio * (1.0 - a * p))};
    }
    case XE_GENERALIZED: { /* (1 - p^a) / a: Zhang & Sabuncu 2018, arXiv:1805.07836, eq. 6 */
        const double pa = exp(-a * l);
        return (xe_phi){-expm1(-a * l) / a, pa, a * pa * expm1(-l)};
    }
    case XE_BLEND: { /* a l + b u, as sums of terms of one sign */
        const double p = exp(-l), u = -expm1(-l);
        return (xe_phi){(a + b) * u + (a == 0.0 ? 0.0 : a * xe_excess(l)), (a + b) * p + a * u, -b * p * u};
    }
    default: /* XE_CROSS_ENTROPY: l */
        return (xe_phi){l, 1.0, 0.0};
    }
}

#endif
