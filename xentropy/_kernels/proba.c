/* Integer labels looked up in a table, and the template of the rows of probabilities, once for float, once for double. */
#include "proba.h"

#include <math.h>
#include <string.h>

/* Two's complement makes the distance from low right for signed and unsigned labels alike, and huge where v < low. */
#define XE_EACH_LABEL(TYPE, DO) \
    for (ptrdiff_t r = 0; r < n; r++) { \
        const uint64_t at = (uint64_t)(int64_t)((const TYPE *)t->labels)[first + r] - (uint64_t)t->low; \
        DO \
    }
#define XE_EVERY_TYPE(DO) \
    switch (t->is_signed ? -t->item_size : t->item_size) { \
    case -1: XE_EACH_LABEL(int8_t, DO) break; \
    case 1: XE_EACH_LABEL(uint8_t, DO) break; \
    case -2: XE_EACH_LABEL(int16_t, DO) break; \
    case 2: XE_EACH_LABEL(uint16_t, DO) break; \
    case -4: XE_EACH_LABEL(int32_t, DO) break; \
    case 4: XE_EACH_LABEL(uint32_t, DO) break; \
    case -8: XE_EACH_LABEL(int64_t, DO) break; \
    case 8: XE_EACH_LABEL(uint64_t, DO) break; \
    }

/* Class indices of labels first..first + n into out, -1 for a label that the table does not hold. Returns the first
 * such row, or -1. */
ptrdiff_t xe_encode_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, int32_t *out)
{
    const uint64_t size = (uint64_t)t->table_size;
    const int32_t *table = t->table;
    int32_t least = 0;
    XE_EVERY_TYPE(out[r] = at < size ? table[at] : -1; least = out[r] < least ? out[r] : least;)
    if (least >= 0) return -1;
    ptrdiff_t r = 0;
    while (out[r] >= 0) r++;
    return first + r;
}

/* seen[v - low] = 1 for each label v in first..first + n. */
void xe_mark_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, unsigned char *seen)
{
    const uint64_t size = (uint64_t)t->table_size;
    XE_EVERY_TYPE(if (at < size) seen[at] = 1;)
}

#undef XE_EVERY_TYPE
#undef XE_EACH_LABEL

#if defined(__GNUC__)
#define XE_PREFETCH(address) __builtin_prefetch(address, 0, 2)
#else
#define XE_PREFETCH(address) ((void)0)
#endif
#if defined(__GNUC__) && !defined(__clang__)
#define XE_UNROLL _Pragma("GCC unroll 4")
#else
#define XE_UNROLL
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

#define XE_PASTE_(name, suffix) name##_##suffix
#define XE_PASTE(name, suffix) XE_PASTE_(name, suffix)
#define XE(name) XE_PASTE(name, REAL)

#define REAL float
#define BITS uint32_t
#include "proba_rows.h"
#undef REAL
#undef BITS

#define REAL double
#define BITS uint64_t
#include "proba_rows.h"
#undef REAL
#undef BITS
