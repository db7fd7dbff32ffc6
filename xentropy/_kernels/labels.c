/* Integer labels, looked up in a table: one at a time on every instruction set. */
#include "proba.h"

#include <string.h>

/* The distance from low is right for signed and unsigned labels in two's complement, and huge where v < low. */
#define XE_EACH_LABEL(TYPE, ...) \
    for (ptrdiff_t r = 0; r < n; r++) { \
        const uint64_t at = (uint64_t)(int64_t)((const TYPE *)t->labels)[first + r] - (uint64_t)t->low; \
        __VA_ARGS__ \
    }
#define XE_EVERY_TYPE(...) \
    switch (t->is_signed ? -t->item_size : t->item_size) { \
    case -1: XE_EACH_LABEL(int8_t, __VA_ARGS__) break; \
    case 1: XE_EACH_LABEL(uint8_t, __VA_ARGS__) break; \
    case -2: XE_EACH_LABEL(int16_t, __VA_ARGS__) break; \
    case 2: XE_EACH_LABEL(uint16_t, __VA_ARGS__) break; \
    case -4: XE_EACH_LABEL(int32_t, __VA_ARGS__) break; \
    case 4: XE_EACH_LABEL(uint32_t, __VA_ARGS__) break; \
    case -8: XE_EACH_LABEL(int64_t, __VA_ARGS__) break; \
    case 8: XE_EACH_LABEL(uint64_t, __VA_ARGS__) break; \
    }

/* Writes the class indices of labels first..first + n to out, and -1 for a label without a class. Returns the first row
 * with such a label, or -1. */
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

/* Sets seen[v - low] = 1 for each label v in first..first + n. */
void xe_mark_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, unsigned char *seen)
{
    const uint64_t size = (uint64_t)t->table_size;
    XE_EVERY_TYPE(if (at < size) seen[at] = 1;)
}

/* Writes the probabilities that rows first..first + n give to their labels to p_y, and 0 for a label without a class.
 * Returns the first row with such a label, or -1. */
#define XE_GATHER(REAL)                                                                                             \
    ptrdiff_t xe_gather_##REAL(const xe_proba *m, ptrdiff_t first, ptrdiff_t n, double *p_y)                         \
    {                                                                                                               \
        const xe_labels *t = &m->labels;                                                                            \
        const uint64_t size = (uint64_t)t->table_size;                                                              \
        const int32_t *table = t->table;                                                                            \
        const int one_column = m->n_columns < m->n_classes; /* the probability of class 1 */                        \
        const REAL *p = (const REAL *)m->proba + first * m->n_columns;                                              \
        ptrdiff_t unknown = -1;                                                                                     \
        if (one_column)                                                                                             \
            XE_EVERY_TYPE(const int32_t k = at < size ? table[at] : -1;                                             \
                          p_y[r] = k == 1 ? (double)p[r] : k == 0 ? 1.0 - (double)p[r] : 0.0;                       \
                          unknown = k < 0 && unknown < 0 ? first + r : unknown;)                                    \
        else                                                                                                        \
            XE_EVERY_TYPE(const int32_t k = at < size ? table[at] : -1; p_y[r] = (double)p[k < 0 ? 0 : k];           \
                          p += m->n_columns;                                                                        \
                          if (k < 0) p_y[r] = 0.0, unknown = unknown < 0 ? first + r : unknown;)                    \
        return unknown;                                                                                             \
    }
XE_GATHER(float)
XE_GATHER(double)

#undef XE_EVERY_TYPE
#undef XE_EACH_LABEL

static uint64_t xe_hash(const unsigned char *record, ptrdiff_t size)
{
    uint64_t h = 0x9e3779b97f4a7c15u, word;
    ptrdiff_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, record + i, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    for (word = 0; i < size; i++) word = word << 8 | record[i];
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    return h ^ h >> 32;
}

/* Gives equal records (n, size) the same number, from 0 on in the order of their first rows, which go to first_row.
 * Returns how many different ones there are, or -1 if they are more than `most`. slots has 4 `most` entries, a power of
 * two, all of them -1. */
ptrdiff_t xe_number_records(const unsigned char *records, ptrdiff_t n, ptrdiff_t size, int32_t most, int32_t *slots,
                            int64_t *first_row, int32_t *number)
{
    const uint64_t mask = 4 * (uint64_t)most - 1;
    int32_t n_found = 0;
    for (ptrdiff_t r = 0; r < n; r++) {
        const unsigned char *record = records + r * size;
        uint64_t slot = xe_hash(record, size) & mask;
        while (slots[slot] >= 0 && memcmp(records + first_row[slots[slot]] * size, record, (size_t)size))
            slot = (slot + 1) & mask;
        if (slots[slot] < 0) {
            if (n_found == most) return -1;
            first_row[n_found] = r;
            slots[slot] = n_found++;
        }
        number[r] = slots[slot];
    }
    return n_found;
}
