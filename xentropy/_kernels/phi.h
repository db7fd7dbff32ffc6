/* The losses. Each is a function phi of l = -log p, the cross-entropy of one class:
 *
 *     L = sum_k a_k phi(l_k),   dL/dz_j = p_j sum_k a_k phi'(l_k) - a_j phi'(l_j)
 *
 * A new loss is a function xe_phi_<name> and an entry of XE_LOSSES. The formulas use p = exp(-l) and
 * u = 1 - p = -expm1(-l), which keeps its digits as l -> 0; every value is finite there, for every parameter, and at
 * l = inf it is the limit.
 */
#ifndef XENTROPY_PHI_H
#define XENTROPY_PHI_H

#include "kernels.h"

#include <math.h>

/* The table of the losses, which Cython and Python read by name through xe_loss_kind. The first one is the default. */
#define XE_LOSSES(ENTRY) ENTRY(cross_entropy) ENTRY(focal) ENTRY(generalized) ENTRY(blend)

enum {
#define ENTRY(name) xe_kind_##name,
    XE_LOSSES(ENTRY)
#undef ENTRY
};

typedef struct {
    double value; /* phi(l) */
    double slope; /* phi'(l) */
    double bend;  /* u phi''(l): phi'' itself is infinite at l = 0 for a focal loss with gamma < 1 */
} xe_phi;

/* l */
static inline xe_phi xe_phi_cross_entropy(double l, const double *param)
{
    (void)param;
    return (xe_phi){l, 1.0, 0.0};
}

/* u^a l: Lin et al. 2017, arXiv:1708.02002, eq. 4 */
static inline xe_phi xe_phi_focal(double l, const double *param)
{
    const double a = param[0], p = exp(-l), u = -expm1(-l), ua = pow(u, a);
    const double ratio = l == 0.0 ? 1.0 : l / u, p_ratio = isinf(l) ? 0.0 : p * ratio;
    return (xe_phi){ua * l, ua * (1.0 + a * p_ratio), a * ua * (2.0 * p - p_ratio * (1.0 - a * p))};
}

/* (1 - p^a) / a: Zhang & Sabuncu 2018, arXiv:1805.07836, eq. 6 */
static inline xe_phi xe_phi_generalized(double l, const double *param)
{
    const double a = param[0], pa = exp(-a * l);
    return (xe_phi){-expm1(-a * l) / a, pa, a * pa * expm1(-l)};
}

/* l - u = l + expm1(-l), which is l^2/2 - l^3/6 + ... and would cancel where l is small */
static inline double xe_excess(double l)
{
    if (!(l < 0.5)) return l + expm1(-l);
    double series = 1.0;
    for (int j = 15; j > 2; j--) series = 1.0 - l / j * series;
    return 0.5 * l * l * series;
}

/* a l + b u, as sums of terms of one sign: Leng et al. 2022, arXiv:2204.12511, eq. 5, and Wang et al. 2019,
 * arXiv:1908.06112, eqs. 5-7 */
static inline xe_phi xe_phi_blend(double l, const double *param)
{
    const double a = param[0], b = param[1], p = exp(-l), u = -expm1(-l);
    return (xe_phi){(a + b) * u + (a == 0.0 ? 0.0 : a * xe_excess(l)), (a + b) * p + a * u, -b * p * u};
}

static inline xe_phi xe_phi_at(const xe_loss *loss, double l)
{
    switch (loss->kind) {
#define CASE(name) \
    case xe_kind_##name: return xe_phi_##name(l, loss->param);
        XE_LOSSES(CASE)
#undef CASE
    }
    return xe_phi_cross_entropy(l, loss->param); /* there is no other kind */
}

#endif
