/* CSR rows in the order of their columns, for the pass over large coefficients. There is no arithmetic, so one object
 * serves every instruction set. */
#include "kernels.h"

#include <string.h>

enum { DIGIT = 11, N_DIGITS = 1 << DIGIT };

static ptrdiff_t at(const void *index, int is_64, ptrdiff_t i)
{
    return is_64 ? (ptrdiff_t)((const int64_t *)index)[i] : (ptrdiff_t)((const int32_t *)index)[i];
}

ptrdiff_t xe_row_start(const xe_linear *p, ptrdiff_t row)
{
    return at(p->indptr, p->indices_are_64, row);
}

/* Returns one past the last key of the column that starts at key i. */
static ptrdiff_t column_end(const uint64_t *keys, ptrdiff_t n, ptrdiff_t i)
{
    ptrdiff_t stop = i + 1;
    while (stop < n && keys[stop] >> 32 == keys[i] >> 32) stop++;
    return stop;
}

/* Returns the place in the order of xe_tiles of a value in a row of the tile and in a column of that length. */
static ptrdiff_t digit_of(const xe_tiles *tiles, ptrdiff_t n_rows, ptrdiff_t length, ptrdiff_t row)
{
    enum { VALUES = 8 }; /* a part of a column has so many at least, as each part loads the coefficients */
    if (tiles->by_length) return length < N_DIGITS ? length : N_DIGITS - 1;
    const ptrdiff_t n_parts = tiles->part_rows ? (n_rows + tiles->part_rows - 1) / tiles->part_rows : 1;
    return n_parts > 1 && n_parts < N_DIGITS && length >= VALUES * n_parts ? 1 + row / tiles->part_rows : 0;
}

ptrdiff_t xe_tile(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, uint64_t *keys, uint64_t *sorted, uint16_t *rows,
                  uint16_t *row, void *x, int32_t *column, int32_t *length, ptrdiff_t *n_columns)
{
    const double *s = p->target.sample_weight;
    const ptrdiff_t start = xe_row_start(p, begin);
    ptrdiff_t n = 0;
    for (ptrdiff_t r = begin; r < end; r++) {
        const ptrdiff_t stop = xe_row_start(p, r + 1) - start;
        for (ptrdiff_t t = xe_row_start(p, r) - start; t < stop; t++) {
            if (s && s[r] == 0.0) continue;
            keys[n++] = (uint64_t)at(p->indices, p->indices_are_64, start + t) << 32 | (uint64_t)t;
            rows[t] = (uint16_t)(r - begin);
        }
    }
    /* a radix sort by the column, lowest digit first: each pass is stable */
    for (int shift = 32; shift < 64 && (uint64_t)(p->n_features - 1) >> (shift - 32); shift += DIGIT) {
        uint32_t next[N_DIGITS + 1] = {0};
        for (ptrdiff_t i = 0; i < n; i++) next[(keys[i] >> shift) % N_DIGITS + 1]++;
        for (int digit = 0; digit < N_DIGITS; digit++) next[digit + 1] += next[digit];
        for (ptrdiff_t i = 0; i < n; i++) sorted[next[(keys[i] >> shift) % N_DIGITS]++] = keys[i];
        uint64_t *other = keys;
        keys = sorted, sorted = other;
    }
    uint32_t next[N_DIGITS + 1] = {0};
    for (ptrdiff_t i = 0, stop; i < n; i = stop) {
        stop = column_end(keys, n, i);
        for (ptrdiff_t j = i; j < stop; j++)
            next[digit_of(&p->tiles, end - begin, stop - i, rows[keys[j] & UINT32_MAX]) + 1]++;
    }
    for (int digit = 0; digit < N_DIGITS; digit++) next[digit + 1] += next[digit];
    for (ptrdiff_t i = 0, stop; i < n; i = stop) {
        stop = column_end(keys, n, i);
        for (ptrdiff_t j = i; j < stop; j++)
            sorted[next[digit_of(&p->tiles, end - begin, stop - i, rows[keys[j] & UINT32_MAX])]++] = keys[j];
    }
    keys = sorted;
    *n_columns = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        const ptrdiff_t t = (ptrdiff_t)(keys[i] & UINT32_MAX);
        const int32_t c = (int32_t)(keys[i] >> 32);
        row[i] = rows[t];
        if (p->x_is_float)
            ((float *)x)[i] = ((const float *)p->x)[start + t];
        else
            ((double *)x)[i] = ((const double *)p->x)[start + t];
        if (*n_columns == 0 || column[*n_columns - 1] != c) column[*n_columns] = c, length[(*n_columns)++] = 0;
        length[*n_columns - 1]++;
    }
    return n;
}
