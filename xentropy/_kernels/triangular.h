/* Triangular factors: products with L^T, and solutions with L and L^T. REAL is what a factor is stored in; the arithmetic
 * is in double.
 *
 * L = U M D: U and D are diagonal and double; M has a unit diagonal, which is not stored. The powers of two in U make the
 * largest number of each row of U^-1 L about 1, so no units of the variables overflow M; and a division of each column by
 * its diagonal, D, leaves none to the substitutions. Both round a number of L once, so they are as stable as LAPACK's.
 *
 * What is below the diagonal of M lies in square tiles, each column by column; these lie one below the other, from the
 * diagonal down, and then come those of the next columns. So every solution is one stream through memory, up or down.
 * The last tiles are filled up with zeros, and so are those on the diagonal.
 */
#ifndef XENTROPY_TRIANGULAR_H
#define XENTROPY_TRIANGULAR_H

#include "kernels.h"
#include "vectors.h"

#define SIDE ((ptrdiff_t)8) /* of a tile: as many columns as there are registers for their sums */
#define SQUARED (SIDE * SIDE)
#define TOGETHER (XE_BYTES == 64 ? 8 : XE_BYTES == 16 ? 2 : 4) /* sums that XE_DOUBLE(reduce_rows) makes */
#define HEIGHT ((ptrdiff_t)(XE_BYTES == 64 ? 8 : 4)) /* rows of a tile that a strip has registers for, ... */
#define WIDTH ((ptrdiff_t)3) /* ... in so many vectors of columns */
/* Columns of one factor that are solved one by one: a strip would be emptier than its vectors are worth. */
#define ALONE (VLD > 4 ? VLD / 4 : 1)

_Static_assert(XE_IS_FLOAT || TOGETHER == ROWS, "as many sums as XE_DOUBLE(reduce_rows) makes");

static size_t XE(triangular_packed)(ptrdiff_t m)
{
    const size_t n = (size_t)((m + SIDE - 1) / SIDE);
    return 4 * n * SIDE * sizeof(double) + n * (n + 1) / 2 * SQUARED * sizeof(REAL);
}

/* a number of M; the smallest floats are slow to read, and nothing beside 1 */
XE_INLINE REAL XE(of_unit)(double a)
{
#if XE_IS_FLOAT
    return fabs(a) < 0x1p-126 ? 0 : (REAL)a;
#else
    return a;
#endif
}

/* to: U, D, U^-1, D^-1 and the tiles of M */
static void XE(triangular_pack)(const double *factor, ptrdiff_t row_step, ptrdiff_t column_step, ptrdiff_t m, void *to)
{
    const ptrdiff_t n = (m + SIDE - 1) / SIDE, size = n * SIDE;
    double *unit = (double *)to, *diagonal = unit + size, *by_unit = diagonal + size, *by_diagonal = by_unit + size;
    REAL *tile = (REAL *)(void *)(by_diagonal + size);
    for (ptrdiff_t j = 0; j < size; j++) unit[j] = 0.0;
    for (ptrdiff_t i = 0; i < m; i += SIDE) /* a few columns at a time: the rows or the columns may be contiguous */
        for (ptrdiff_t j = i; j < m; j++)
            for (ptrdiff_t k = i; k <= j && k < i + SIDE; k++) {
                const double a = fabs(factor[j * row_step + k * column_step]);
                unit[j] = a > unit[j] ? a : unit[j];
            }
    for (ptrdiff_t j = 0; j < size; j++) {
        int exponent = 0;
        if (unit[j] > 0.0 && unit[j] <= 0x1.fffffffffffffp1023) frexp(unit[j], &exponent);
        exponent = exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent; /* its inverse is a number too */
        unit[j] = ldexp(1.0, exponent);
        by_unit[j] = ldexp(1.0, -exponent);
        diagonal[j] = j < m ? factor[j * (row_step + column_step)] * by_unit[j] : 1.0;
        by_diagonal[j] = 1.0 / diagonal[j];
    }
    for (ptrdiff_t i = 0; i < size; i += SIDE)
        for (ptrdiff_t first = i; first < size; first += SIDE, tile += SQUARED)
            for (ptrdiff_t k = i; k < i + SIDE; k++)
                for (ptrdiff_t j = first; j < first + SIDE; j++) {
                    const int is_stored = j < m && k < j;
                    const double a = is_stored ? factor[j * row_step + k * column_step] * by_unit[j] : 0.0;
                    tile[(k - i) * SIDE + j - first] = is_stored ? XE(of_unit)(a / diagonal[k]) : 0;
                }
}

/* the tile on the diagonal, of the n - p tiles of a column of tiles */
XE_INLINE const REAL *XE(diagonal_tile)(const REAL *tiles, ptrdiff_t n, ptrdiff_t p)
{
    return tiles + (p * n - p * (p - 1) / 2) * SQUARED;
}

/* ---- one column: lanes are rows ---- */

/* y = M^-1 y, of n tiles: columns are subtracted as soon as their unknowns are known */
XE_HOT void XE(solve_lower)(const REAL *tile, ptrdiff_t n, double *y)
{
    for (; n > 0; n--, y += SIDE) {
        double known[SIDE];
        VD known_v[SIDE];
        XE_UNROLL
        for (int i = 0; i < SIDE; i++) known[i] = y[i];
        XE_UNROLL
        for (int i = 0; i < SIDE; i++)
            XE_UNROLL
            for (int j = i + 1; j < SIDE; j++) known[j] -= (double)tile[i * SIDE + j] * known[i];
        XE_UNROLL
        for (int i = 0; i < SIDE; i++) {
            y[i] = known[i];
            known_v[i] = XE_DOUBLE(set1)(known[i]);
        }
        tile += SQUARED;
        for (ptrdiff_t t = 1; t < n; t++, tile += SQUARED)
            XE_UNROLL
            for (ptrdiff_t v = 0; v < SIDE; v += VLD) {
                VD even = XE_DOUBLE(load)(y + t * SIDE + v), odd = XE_DOUBLE(set1)(0.0);
                XE_UNROLL
                for (int k = 0; k < SIDE; k += 2) {
                    even -= XE(widen)(tile + k * SIDE + v) * known_v[k];
                    odd += XE(widen)(tile + (k + 1) * SIDE + v) * known_v[k + 1];
                }
                XE_DOUBLE(store)(y + t * SIDE + v, even - odd);
            }
    }
}

/* to (SIDE) -+= the products of the columns of tiles with x; those that are subtracted begin with the last tile */
XE_INLINE void XE(add_dots)(const int subtract, const REAL *tiles, ptrdiff_t first, ptrdiff_t n, const double *x,
                            double *to)
{
    VD sum[SIDE];
    XE_UNROLL
    for (int k = 0; k < SIDE; k++) sum[k] = XE_DOUBLE(set1)(0.0);
    for (ptrdiff_t i = first; i < n; i++) {
        const ptrdiff_t t = subtract ? n - 1 + first - i : i;
        const REAL *tile = tiles + t * SQUARED;
        XE_UNROLL
        for (ptrdiff_t v = 0; v < SIDE; v += VLD) {
            const VD x_v = XE_DOUBLE(load)(x + t * SIDE + v);
            XE_UNROLL
            for (int k = 0; k < SIDE; k++) {
                const VD product = XE(widen)(tile + k * SIDE + v) * x_v;
                sum[k] = subtract ? sum[k] - product : sum[k] + product;
            }
        }
    }
    XE_UNROLL
    for (int k = 0; k < SIDE; k += TOGETHER) XE_DOUBLE(reduce_rows)(sum + k, NULL, to + k);
}

/* y = M^-T y */
XE_HOT void XE(solve_upper)(const REAL *tiles, ptrdiff_t n, double *y)
{
    for (ptrdiff_t p = n - 1; p >= 0; p--) {
        const REAL *tile = XE(diagonal_tile)(tiles, n, p);
        double *y_p = y + p * SIDE, known[SIDE];
        XE(add_dots)(1, tile, 1, n - p, y_p, y_p);
        XE_UNROLL
        for (int i = 0; i < SIDE; i++) known[i] = y_p[i];
        XE_UNROLL
        for (int j = SIDE - 1; j > 0; j--)
            XE_UNROLL
            for (int i = 0; i < j; i++) known[i] -= (double)tile[i * SIDE + j] * known[j];
        XE_UNROLL
        for (int i = 0; i < SIDE; i++) y_p[i] = known[i];
    }
}

/* y = M^T y */
XE_HOT void XE(times_upper)(const REAL *tiles, ptrdiff_t n, double *y)
{
    for (ptrdiff_t p = 0; p < n; p++, y += SIDE)
        XE(add_dots)(0, XE(diagonal_tile)(tiles, n, p), 0, n - p, y, y);
}

/* ---- columns side by side, in a strip of n_v vectors: lanes are columns, numbers of M are broadcast ---- */

/* the numbers of a tile as doubles, there or in `wide` */
XE_INLINE const double *XE(wide_tile)(const REAL *tile, double *wide)
{
#if XE_IS_FLOAT
    for (ptrdiff_t i = 0; i < SQUARED; i += VLD) XE_DOUBLE(store)(wide + i, XE(widen)(tile + i));
    return wide;
#else
    (void)wide;
    return tile;
#endif
}

/* sum -+= the rows of a tile, or of its transpose, from `first` on, times rows begin..end of y */
XE_INLINE void XE(add_tile)(const int kind, const int n_v, const double *tile, ptrdiff_t first, ptrdiff_t begin,
                            ptrdiff_t end, const double *y, VD sum[HEIGHT][WIDTH])
{
    const ptrdiff_t by_row = kind == XE_TO_GRADIENT ? 1 : SIDE, by_column = kind == XE_TO_GRADIENT ? SIDE : 1;
    tile += first * by_row;
    for (ptrdiff_t k = begin; k < end; k++) {
        VD y_v[WIDTH];
        XE_UNROLL
        for (int v = 0; v < n_v; v++) y_v[v] = XE_DOUBLE(load)(y + (k * n_v + v) * VLD);
        XE_UNROLL
        for (int i = 0; i < HEIGHT; i++) {
            const VD a = XE_DOUBLE(set1)(tile[i * by_row + k * by_column]);
            XE_UNROLL
            for (int v = 0; v < n_v; v++) sum[i][v] = kind == XE_TO_X ? sum[i][v] + a * y_v[v] : sum[i][v] - a * y_v[v];
        }
    }
}

/* rows first..first + HEIGHT of those beside the p-th tile of the diagonal */
XE_INLINE void XE(strip_rows)(const int kind, const int n_v, const REAL *tiles, ptrdiff_t n, ptrdiff_t p,
                              ptrdiff_t first, double *y)
{
    const ptrdiff_t tile_rows = SIDE * n_v * VLD; /* numbers of y beside a tile */
    const REAL *diagonal = XE(diagonal_tile)(tiles, n, p);
    double wide[SQUARED], *y_p = y + p * tile_rows, *to = y_p + first * n_v * VLD;
    VD sum[HEIGHT][WIDTH];
    XE_UNROLL
    for (int i = 0; i < HEIGHT; i++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) sum[i][v] = XE_DOUBLE(load)(to + (i * n_v + v) * VLD);
    /* what became known last comes last */
    if (kind == XE_TO_GRADIENT)
        for (ptrdiff_t t = 0; t < p; t++)
            XE(add_tile)(kind, n_v, XE(wide_tile)(XE(diagonal_tile)(tiles, n, t) + (p - t) * SQUARED, wide), first, 0,
                         SIDE, y + t * tile_rows, sum);
    else
        for (ptrdiff_t t = n - 1; t > p; t--)
            XE(add_tile)(kind, n_v, XE(wide_tile)(diagonal + (t - p) * SQUARED, wide), first, 0, SIDE,
                         y + t * tile_rows, sum);
    const double *tile = XE(wide_tile)(diagonal, wide);
    if (kind == XE_TO_GRADIENT)
        XE(add_tile)(kind, n_v, tile, first, 0, first, y_p, sum);
    else
        XE(add_tile)(kind, n_v, tile, first, kind == XE_TO_X ? first : first + HEIGHT, SIDE, y_p, sum);
    tile += first * SIDE + first;
    if (kind == XE_TO_GRADIENT)
        XE_UNROLL
        for (int i = 0; i < HEIGHT; i++)
            XE_UNROLL
            for (int j = i + 1; j < HEIGHT; j++)
                XE_UNROLL
                for (int v = 0; v < n_v; v++) sum[j][v] -= XE_DOUBLE(set1)(tile[i * SIDE + j]) * sum[i][v];
    if (kind == XE_TO_THETA)
        XE_UNROLL
        for (int j = HEIGHT - 1; j > 0; j--)
            XE_UNROLL
            for (int i = 0; i < j; i++)
                XE_UNROLL
                for (int v = 0; v < n_v; v++) sum[i][v] -= XE_DOUBLE(set1)(tile[i * SIDE + j]) * sum[j][v];
    XE_UNROLL
    for (int i = 0; i < HEIGHT; i++)
        XE_UNROLL
        for (int v = 0; v < n_v; v++) XE_DOUBLE(store)(to + (i * n_v + v) * VLD, sum[i][v]);
}

XE_INLINE void XE(strip_of)(const int kind, const int n_v, const REAL *tiles, ptrdiff_t n, double *y)
{
    if (kind == XE_TO_THETA)
        for (ptrdiff_t p = n - 1; p >= 0; p--)
            for (ptrdiff_t first = SIDE - HEIGHT; first >= 0; first -= HEIGHT)
                XE(strip_rows)(kind, n_v, tiles, n, p, first, y);
    else
        for (ptrdiff_t p = 0; p < n; p++)
            for (ptrdiff_t first = 0; first < SIDE; first += HEIGHT)
                XE(strip_rows)(kind, n_v, tiles, n, p, first, y);
}

XE_HOT void XE(strip_1)(int kind, const REAL *tiles, ptrdiff_t n, double *y)
{
    if (kind == XE_TO_X)
        XE(strip_of)(XE_TO_X, 1, tiles, n, y);
    else if (kind == XE_TO_THETA)
        XE(strip_of)(XE_TO_THETA, 1, tiles, n, y);
    else
        XE(strip_of)(XE_TO_GRADIENT, 1, tiles, n, y);
}

XE_HOT void XE(strip_2)(int kind, const REAL *tiles, ptrdiff_t n, double *y)
{
    if (kind == XE_TO_X)
        XE(strip_of)(XE_TO_X, 2, tiles, n, y);
    else if (kind == XE_TO_THETA)
        XE(strip_of)(XE_TO_THETA, 2, tiles, n, y);
    else
        XE(strip_of)(XE_TO_GRADIENT, 2, tiles, n, y);
}

XE_HOT void XE(strip_3)(int kind, const REAL *tiles, ptrdiff_t n, double *y)
{
    if (kind == XE_TO_X)
        XE(strip_of)(XE_TO_X, 3, tiles, n, y);
    else if (kind == XE_TO_THETA)
        XE(strip_of)(XE_TO_THETA, 3, tiles, n, y);
    else
        XE(strip_of)(XE_TO_GRADIENT, 3, tiles, n, y);
}

/* ---- vectors of n_columns columns ---- */

static size_t XE(triangular_scratch)(ptrdiff_t m)
{
    return (size_t)((m + SIDE - 1) / SIDE * SIDE * WIDTH * VLD) * sizeof(double);
}

/* n columns of x and out, row_step apart, in n_v vectors */
static void XE(triangular_strip)(int kind, const REAL *tiles, ptrdiff_t m, const double *before, const double *after,
                                 ptrdiff_t n, ptrdiff_t row_step, const double *x, double *y, double *out)
{
    const ptrdiff_t n_tiles = (m + SIDE - 1) / SIDE, n_v = (n + VLD - 1) / VLD, width = n_v * VLD;
    for (ptrdiff_t j = 0; j < m; j++)
        for (ptrdiff_t k = 0; k < n; k += VLD)
            XE_DOUBLE(store)(y + j * width + k, XE_DOUBLE(set1)(before[j]) *
                             (n - k < VLD ? XE_DOUBLE(load_n)(x + j * row_step + k, n - k)
                                          : XE_DOUBLE(load)(x + j * row_step + k)));
    for (ptrdiff_t j = m * width; j < n_tiles * SIDE * width; j++) y[j] = 0.0;
    (n_v == 3 ? XE(strip_3) : n_v == 2 ? XE(strip_2) : XE(strip_1))(kind, tiles, n_tiles, y);
    for (ptrdiff_t j = 0; j < m; j++) {
        ptrdiff_t k = 0;
        for (; k + VLD <= n; k += VLD)
            XE_DOUBLE(store)(out + j * row_step + k, XE_DOUBLE(set1)(after[j]) * XE_DOUBLE(load)(y + j * width + k));
        for (; k < n; k++) out[j * row_step + k] = after[j] * y[j * width + k];
    }
}

/* one column of x and out, row_step apart; adds it to total (m), where not NULL */
static void XE(triangular_column)(int kind, const REAL *tiles, ptrdiff_t m, const double *before, const double *after,
                                  ptrdiff_t row_step, const double *x, double *y, double *out, double *total)
{
    const ptrdiff_t n_tiles = (m + SIDE - 1) / SIDE;
    for (ptrdiff_t j = 0; j < m; j++) y[j] = before[j] * x[j * row_step];
    for (ptrdiff_t j = m; j < n_tiles * SIDE; j++) y[j] = 0.0;
    (kind == XE_TO_X ? XE(times_upper) : kind == XE_TO_THETA ? XE(solve_upper) : XE(solve_lower))(tiles, n_tiles, y);
    for (ptrdiff_t j = 0; j < m; j++) out[j * row_step] = y[j] *= after[j];
    for (ptrdiff_t j = 0; total && j < m; j++) total[j] += y[j];
}

static void XE(triangular_apply)(int kind, const void *packed, ptrdiff_t n_factors, ptrdiff_t m, ptrdiff_t n_columns,
                                 const double *x, void *scratch, double *out)
{
    const ptrdiff_t n = (m + SIDE - 1) / SIDE, size = n * SIDE;
    const int centred = kind == XE_TO_THETA && n_factors > 1;
    double *y = (double *)scratch, *total = centred ? y + size : NULL;
    for (ptrdiff_t j = 0; centred && j < m; j++) total[j] = 0.0;
    for (ptrdiff_t k = 0, n_k; k < n_columns; k += n_k) {
        const double *unit = (const double *)packed, *diagonal = unit + size;
        const double *by_unit = diagonal + size, *by_diagonal = by_unit + size;
        const REAL *tiles = (const REAL *)(const void *)(by_diagonal + size);
        const double *before = kind == XE_TO_X ? unit : kind == XE_TO_THETA ? by_diagonal : by_unit;
        const double *after = kind == XE_TO_X ? diagonal : kind == XE_TO_THETA ? by_unit : by_diagonal;
        if (n_factors == 1 && n_columns - k > ALONE) {
            /* as few strips as there can be, of about one width */
            const ptrdiff_t vectors = (n_columns - k + VLD - 1) / VLD, strips = (vectors + WIDTH - 1) / WIDTH;
            n_k = (vectors + strips - 1) / strips * VLD;
            n_k = n_k < n_columns - k ? n_k : n_columns - k;
            XE(triangular_strip)(kind, tiles, m, before, after, n_k, n_columns, x + k, y, out + k);
        } else {
            n_k = 1;
            XE(triangular_column)(kind, tiles, m, before, after, n_columns, x + k, y, out + k, total);
        }
        if (n_factors > 1) packed = (const unsigned char *)packed + XE(triangular_packed)(m);
    }
    if (!centred) return;
    const double share = 1.0 / (double)n_columns;
    for (ptrdiff_t j = 0; j < m; j++) {
        const double mean = total[j] * share;
        for (ptrdiff_t k = 0; k < n_columns; k++) out[j * n_columns + k] -= mean;
    }
}

#endif
