/* Cross-entropy of rows of probabilities, and whether they are probabilities at all. A template: REAL is float or
 * double, BITS the unsigned integer of its size, XE(name) adds the suffix.
 *
 *     L_i = -sum_k t_ik log q_ik,   q = min(max(p, eps), 1 - eps),   0 log 0 = 0
 *
 * Rows are checked a block at a time by loops without branches; only the rows of a block that fails are looked at one
 * by one. That first check may fail good rows (one that holds -0.0) but passes no bad one, as far
 * as sums in REAL can tell.
 */

/* 0 <= p <= 1 for all. As integers the floats >= 0 are ordered like their values, with infinity and NaN above them all
 * and what is negative above these; moved by what takes 1 to the last number below a quarter of the range, all others
 * show in the top two bits. All but negative NaNs, which wrap around: the caller must find those. */
static inline int XE(in_unit_interval)(const REAL *p, ptrdiff_t n)
{
    const BITS quarter = (BITS)1 << (8 * sizeof(BITS) - 2);
    const REAL one = 1;
    BITS bits, move, seen = 0;
    memcpy(&bits, &one, sizeof bits);
    move = quarter - 1 - bits;
    XE_UNROLL
    for (ptrdiff_t i = 0; i < n; i++) {
        memcpy(&bits, p + i, sizeof bits);
        seen |= bits + move;
    }
    return seen < quarter;
}

static inline int XE(has_nan)(const REAL *p, ptrdiff_t n)
{
    int found = 0;
    for (ptrdiff_t i = 0; i < n; i++) found |= p[i] != p[i];
    return found;
}

/* NaN fails */
static inline int XE(sum_to_one)(const REAL *p, ptrdiff_t n_rows, ptrdiff_t n_columns, REAL tolerance)
{
    BITS limit, bits, seen = 0;
    memcpy(&limit, &tolerance, sizeof limit);
    for (ptrdiff_t r = 0; r < n_rows; r++) {
        const REAL *row = p + r * n_columns;
        REAL sum = 0, part = 0;
        ptrdiff_t k = 0;
#if defined(__GNUC__)
        typedef REAL vector __attribute__((vector_size(16), aligned(sizeof(REAL)), may_alias));
        enum { LANES = 16 / sizeof(REAL) };
        if (n_columns >= LANES) {
            vector lanes = *(const vector *)row;
            for (k = LANES; k + LANES <= n_columns; k += LANES) lanes += *(const vector *)(row + k);
            for (int l = 0; l < LANES; l++) part += lanes[l];
        }
#else
        for (; k + 2 <= n_columns; k += 2) {
            sum += row[k];
            part += row[k + 1];
        }
#endif
        for (; k < n_columns; k++) sum += row[k];
        const REAL off = (sum + part) - 1;
        memcpy(&bits, &off, sizeof bits);
        seen |= limit - (bits << 1 >> 1); /* without its sign */
    }
    return !(seen >> (8 * sizeof seen - 1));
}

/* The loops over a few columns are worth a copy each, unrolled. */
static int XE(rows_are_fine)(const REAL *p, ptrdiff_t n_rows, ptrdiff_t n_columns, REAL tolerance)
{
    int fine;
    switch (n_columns) {
    case 1: fine = !XE(has_nan)(p, n_rows); break; /* nothing to add up */
    case 2: fine = XE(sum_to_one)(p, n_rows, 2, tolerance); break;
    case 3: fine = XE(sum_to_one)(p, n_rows, 3, tolerance); break;
    case 4: fine = XE(sum_to_one)(p, n_rows, 4, tolerance); break;
    case 5: fine = XE(sum_to_one)(p, n_rows, 5, tolerance); break;
    case 6: fine = XE(sum_to_one)(p, n_rows, 6, tolerance); break;
    case 7: fine = XE(sum_to_one)(p, n_rows, 7, tolerance); break;
    case 8: fine = XE(sum_to_one)(p, n_rows, 8, tolerance); break;
    case 9: fine = XE(sum_to_one)(p, n_rows, 9, tolerance); break;
    case 10: fine = XE(sum_to_one)(p, n_rows, 10, tolerance); break;
    default: fine = XE(sum_to_one)(p, n_rows, n_columns, tolerance);
    }
    return fine && XE(in_unit_interval)(p, n_rows * n_columns);
}

static void XE(find_flaws)(const xe_proba *m, ptrdiff_t first, ptrdiff_t n_rows, xe_proba_flaws *flaws)
{
    for (ptrdiff_t i = first; i < first + n_rows; i++) {
        if (m->sample_weight && m->sample_weight[i] == 0.0) continue;
        const REAL *row = (const REAL *)m->proba + i * m->n_columns;
        double sum = 0.0;
        for (ptrdiff_t k = 0; k < m->n_columns; k++) {
            sum += (double)row[k];
            if (!(row[k] >= 0 && row[k] <= 1)) xe_note(&flaws->outside, i);
        }
        if (m->n_columns > 1 && !(fabs(sum - 1.0) <= m->sum_tolerance)) xe_note(&flaws->off_one, i);
    }
}

/* t_k of row i */
static inline double XE(share)(const xe_proba *m, ptrdiff_t i, ptrdiff_t k)
{
    const ptrdiff_t at = i * m->n_classes + k;
    return m->distribution_is_float ? (double)((const float *)m->distribution)[at]
                                    : ((const double *)m->distribution)[at];
}

static inline double XE(proba_of)(const xe_proba *m, ptrdiff_t i, ptrdiff_t k)
{
    const REAL *row = (const REAL *)m->proba + i * m->n_columns;
    if (m->n_columns == m->n_classes) return (double)row[k];
    return k == 1 ? (double)row[0] : 1.0 - (double)row[0];
}

/* What rows gave to their labels, clipped; a label without a class was given 0. */
static void XE(gather)(const xe_proba *m, ptrdiff_t first, ptrdiff_t n, const int32_t *label, int all_known, double *q)
{
    const double low = m->eps, high = 1.0 - m->eps;
    const ptrdiff_t K = m->n_columns;
    const REAL *p = (const REAL *)m->proba + first * K;
    if (all_known && K == m->n_classes) {
        for (ptrdiff_t r = 0; r < n; r++, p += K) q[r] = xe_clip((double)p[label[r]], low, high);
    } else if (K == m->n_classes) {
        for (ptrdiff_t r = 0; r < n; r++) q[r] = label[r] < 0 ? low : xe_clip((double)p[r * K + label[r]], low, high);
    } else {
        for (ptrdiff_t r = 0; r < n; r++) {
            const double p1 = (double)p[r];
            q[r] = label[r] < 0 ? low : xe_clip(label[r] == 1 ? p1 : 1.0 - p1, low, high);
        }
    }
}

/* Checks rows first..first + n, of the rows before end, and asks for those that come 10 kB later: the checks alone keep
 * too few reads under way to use the memory's bandwidth. */
static void XE(check)(const xe_proba *m, ptrdiff_t first, ptrdiff_t n, ptrdiff_t end, xe_proba_flaws *flaws)
{
    enum { STEP = 2560 / sizeof(REAL), AHEAD = 4 * STEP, LINE = 64 / sizeof(REAL) };
    const ptrdiff_t K = m->n_columns, step = K >= STEP ? 1 : STEP / K;
    const REAL *p = (const REAL *)m->proba;
    for (ptrdiff_t r = first; r < first + n; r += step) {
        const ptrdiff_t rows = first + n - r < step ? first + n - r : step;
        const ptrdiff_t last = (r + rows) * K + AHEAD < end * K ? (r + rows) * K + AHEAD : end * K;
        for (ptrdiff_t at = r * K + AHEAD; at < last; at += LINE) XE_PREFETCH(p + at);
        if (!XE(rows_are_fine)(p + r * K, rows, K, (REAL)m->sum_tolerance)) XE(find_flaws)(m, r, rows, flaws);
    }
}

double XE(xe_proba_rows)(const xe_proba *m, ptrdiff_t begin, ptrdiff_t end, double *row_loss, xe_proba_flaws *flaws)
{
    enum { BLOCK = 64 };
    const double *s = m->sample_weight, low = m->eps, high = 1.0 - m->eps;
    double total = 0.0;
    for (ptrdiff_t first = begin; first < end; first += BLOCK) {
        const ptrdiff_t n = end - first < BLOCK ? end - first : BLOCK;
        XE(check)(m, first, n, end, flaws);
        if (flaws->outside >= 0) return NAN;
        double loss[BLOCK], sum = 0.0;
        if (m->distribution) {
            for (ptrdiff_t r = 0; r < n; r++) {
                loss[r] = 0.0;
                if (s && s[first + r] == 0.0) continue;
                for (ptrdiff_t k = 0; k < m->n_classes; k++) {
                    const double t = XE(share)(m, first + r, k);
                    if (t != 0.0) loss[r] -= t * log(xe_clip(XE(proba_of)(m, first + r, k), low, high));
                }
            }
        } else {
            int32_t label[BLOCK];
            double q[BLOCK];
            const ptrdiff_t unknown = xe_encode_labels(&m->labels, first, n, label);
            if (unknown >= 0) xe_note(&flaws->unknown_label, unknown);
            XE(gather)(m, first, n, label, unknown < 0, q);
            if (!s && !row_loss) {
                total += xe_sum_neg_log(q, n);
                continue;
            }
            for (ptrdiff_t r = 0; r < n; r++) loss[r] = s && s[first + r] == 0.0 ? 0.0 : 0.0 - log(q[r]);
        }
        for (ptrdiff_t r = 0; r < n; r++) sum += s && s[first + r] != 0.0 ? s[first + r] * loss[r] : loss[r];
        total += sum;
        if (row_loss) memcpy(row_loss + first, loss, (size_t)n * sizeof *loss);
    }
    return total;
}
