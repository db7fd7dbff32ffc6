/* Labels as a user gave them, and probabilities with what they are compared with: part of the seam of kernels.h. */
#ifndef XENTROPY_PROBA_H
#define XENTROPY_PROBA_H

#include <stddef.h>
#include <stdint.h>

/* Labels as a user gave them: n integers of any width. Label v is class table[v - low]. It has no class if that is
 * -1 or outside of the table. */
typedef struct {
    const void *labels;
    int item_size;         /* bytes: 1, 2, 4 or 8 */
    int is_signed;
    int64_t low;           /* for unsigned 64-bit labels, the same 64 bits */
    ptrdiff_t table_size;
    const int32_t *table;  /* (table_size) in [-1, K) */
} xe_labels;

ptrdiff_t xe_encode_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, int32_t *out);
ptrdiff_t xe_number_records(const unsigned char *records, ptrdiff_t n, ptrdiff_t size, int32_t most, int32_t *slots,
                            int64_t *first_row, int32_t *number);
void xe_mark_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, unsigned char *seen);

/* Probabilities, and what they are compared with. */
typedef struct {
    ptrdiff_t n_classes;          /* K */
    ptrdiff_t n_columns;          /* K; or 1, the probability of class 1, with labels of K = 2 classes */
    const void *proba;            /* (n, n_columns) REAL */
    xe_labels labels;             /* (n), where distribution is NULL */
    const void *distribution;     /* (n, K) REAL, or NULL */
    const double *sample_weight;  /* (n), or NULL: all one. What a row of weight 0 holds does not count */
    double eps;                   /* p is clipped to [eps, 1 - eps] */
    double sum_tolerance;         /* how far the sum of a row may be from 1 */
} xe_proba;

/* The first row that has each flaw, or -1. */
typedef struct {
    ptrdiff_t outside;        /* it holds a NaN, or a number outside of [0, 1] */
    ptrdiff_t off_one;        /* its sum is not 1 */
    ptrdiff_t unknown_label;  /* its label has no class: p = 0 */
} xe_proba_flaws;

ptrdiff_t xe_gather_float(const xe_proba *m, ptrdiff_t first, ptrdiff_t n, double *p_y);
ptrdiff_t xe_gather_double(const xe_proba *m, ptrdiff_t first, ptrdiff_t n, double *p_y);

#endif
