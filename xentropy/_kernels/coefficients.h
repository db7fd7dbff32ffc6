/* Written by tools/generate_coefficients.py: do not edit. */
#ifndef XENTROPY_COEFFICIENTS_H
#define XENTROPY_COEFFICIENTS_H

/* double: relative error of the polynomial 2^-57.9 */
#define XE_EXP_POLY_double 0x1.ad7f6c6c7fa5ep-26, \
    0x1.28ad72d279198p-22, \
    0x1.71df2553cc5bdp-19, \
    0x1.a0199a0c60f6fp-16, \
    0x1.a01a012a5709fp-13, \
    0x1.6c16c1842a13fp-10, \
    0x1.1111111127be7p-7, \
    0x1.555555555087cp-5, \
    0x1.55555555554fap-3, \
    0x1.000000000000ap-1
#define XE_LN2_HIGH_double 0x1.62e42fefa3000p-1
#define XE_LN2_LOW_double 0x1.3de6af278ece6p-42
#define XE_LOG2E_double 0x1.71547652b82fep+0

/* float: relative error of the polynomial 2^-28.3 */
#define XE_EXP_POLY_float 0x1.6a24340000000p-10f, \
    0x1.1239e20000000p-7f, \
    0x1.5558f20000000p-5f, \
    0x1.5554920000000p-3f, \
    0x1.fffffc0000000p-2f
#define XE_LN2_HIGH_float 0x1.62e4000000000p-1f
#define XE_LN2_LOW_float 0x1.7f7d1c0000000p-20f
#define XE_LOG2E_float 0x1.7154760000000p+0f

/* log1p, double: relative error of the polynomial 2^-59.5 */
#define XE_LOG_POLY 0x1.2f05636b5f25bp-3, \
    0x1.39a1baba44c7bp-3, \
    0x1.74663ee84c192p-3, \
    0x1.c71c52095ddb5p-3, \
    0x1.24924941f123dp-2, \
    0x1.999999997fdb8p-2, \
    0x1.5555555555592p-1

/* log1p, double: relative error of the polynomial 2^-59.4 */
#define XE_LOG1P_POLY_double 0x1.5c8a5c679362bp-3, \
    0x1.559c4a013e149p-4, \
    0x1.efdd849e84dcbp-4, \
    0x1.10676880c4fe6p-3, \
    0x1.3b1de326322fbp-3, \
    0x1.745cb39b5088ap-3, \
    0x1.c71c741f8d17ep-3, \
    0x1.249249208575bp-2, \
    0x1.99999999a0840p-2, \
    0x1.5555555555535p-1
/* log1p, float: relative error of the polynomial 2^-27.7 */
#define XE_LOG1P_POLY_float 0x1.1ef8700000000p-2f, \
    0x1.1eb6120000000p-2f, \
    0x1.99d27c0000000p-2f, \
    0x1.5555000000000p-1f

#endif
