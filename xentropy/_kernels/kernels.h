/* The seam between Cython and C.
 *
 * Cython checks shapes and indices, owns every buffer, cuts the rows into partitions and runs them on threads. The C
 * functions here see one run of rows at a time; they never allocate, never raise and never write to their input.
 *
 * "REAL" below is the type that logits and gradients are computed in, float or double; each table holds the functions
 * for one of them. Every sum that grows with the number of rows is a double.
 */
#ifndef XENTROPY_KERNELS_H
#define XENTROPY_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* What the rows are compared with. Row i asks for the weighted, smoothed target
 *     a_k = s_i w_k t_k,   t_k = (1 - smoothing) y_ik + smoothing / K.
 */
typedef struct {
    ptrdiff_t n_classes;          /* K */
    const int32_t *labels;        /* (n) in [0, K), or NULL */
    const void *distribution;     /* (n, K) REAL, where labels is NULL */
    const double *sample_weight;  /* (n), or NULL: all one. A row of weight 0 is never looked at */
    const double *class_weight;   /* (K), or NULL: all one */
    double smoothing;             /* in [0, 1] */
} xe_target;

/* A linear model on one data set: logits z = x W^T + b. One output is the sigmoid form: z = logit of class 1. */
typedef struct {
    ptrdiff_t n_rows;
    ptrdiff_t n_features;   /* d */
    ptrdiff_t n_outputs;    /* R = K, or 1 where K = 2 */
    ptrdiff_t block_rows;   /* rows whose logits are formed at a time */
    int x_is_float;         /* the type X is stored in; REAL may be wider */
    const void *x;          /* dense: (n, d) C-ordered; CSR: the stored values */
    int indices_are_64;
    const void *indices;    /* CSR: columns, in [0, d); NULL for dense X */
    const void *indptr;     /* CSR: (n + 1) */
    const void *coef;       /* (d, R) REAL: W transposed, so that a feature's coefficients are adjacent */
    const void *intercept;  /* (R) REAL */
    xe_target target;
} xe_linear;

/* Rows first..first + n_rows of a target against their logits. Writes, where not NULL, each row's loss and its
 * gradient with respect to its logits (grad never overlaps z), and returns the sum of the losses. */
#define XE_ROWS_ARGS(REAL) \
    const xe_target *target, ptrdiff_t first, ptrdiff_t n_rows, const REAL *z, REAL *grad, double *row_loss

typedef struct {
    /* bytes of scratch that one thread needs in linear_rows */
    size_t (*linear_scratch)(const xe_linear *p);
    /* Rows begin..end of the linear model: returns the sum of their losses and overwrites grad, (R d + R) doubles in
     * an order that only linear_combine knows, with the gradient. */
    double (*linear_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *grad);
    /* doubles -> REAL: the coefficients of this evaluation */
    void (*narrow)(const double *from, ptrdiff_t n, void *to);
} xe_kernels;

extern const xe_kernels xe_kernels_float, xe_kernels_double;

/* Sums n_partials gradients of linear_rows, in their order, into grad_coef (d, R) and grad_intercept (R). */
void xe_linear_combine(const xe_linear *p, const double *partials, ptrdiff_t n_partials, double *grad_coef,
                       double *grad_intercept);

double xe_softmax_rows_float(XE_ROWS_ARGS(float));
double xe_softmax_rows_double(XE_ROWS_ARGS(double));
double xe_sigmoid_rows_float(XE_ROWS_ARGS(float));
double xe_sigmoid_rows_double(XE_ROWS_ARGS(double));

/* Softmax of rows of K logits, or its logarithm, into out (which may be z). */
void xe_softmax_float(const float *z, ptrdiff_t n_rows, ptrdiff_t n_classes, int log, float *out);
void xe_softmax_double(const double *z, ptrdiff_t n_rows, ptrdiff_t n_classes, int log, double *out);

/* Labels as they came: n integers of any width. Label v is class table[v - low], or none where that is -1 or outside. */
typedef struct {
    const void *labels;
    int item_size;         /* bytes: 1, 2, 4 or 8 */
    int is_signed;
    int64_t low;           /* of unsigned 64-bit labels: the same 64 bits */
    ptrdiff_t table_size;
    const int32_t *table;  /* (table_size) in [-1, K) */
} xe_labels;

ptrdiff_t xe_encode_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, int32_t *out);
void xe_mark_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, unsigned char *seen);

/* Probabilities, and what they are compared with. */
typedef struct {
    ptrdiff_t n_classes;          /* K */
    ptrdiff_t n_columns;          /* K; or 1 where K = 2: the probability of class 1 */
    const void *proba;            /* (n, n_columns) REAL */
    xe_labels labels;             /* (n), where distribution is NULL */
    const void *distribution;     /* (n, K), or NULL */
    int distribution_is_float;
    const double *sample_weight;  /* (n), or NULL: all one. Nothing that a row of weight 0 holds counts */
    double eps;                   /* p is clipped to [eps, 1 - eps] */
    double sum_tolerance;         /* how far the sum of a row may be from 1 */
} xe_proba;

/* The first row of each kind, or -1. */
typedef struct {
    ptrdiff_t outside;        /* holds a NaN, or a number outside of [0, 1] */
    ptrdiff_t off_one;        /* does not sum to 1 */
    ptrdiff_t unknown_label;  /* its label has no class: p = 0 */
} xe_proba_flaws;

/* Rows begin..end: returns their weighted loss (NaN where one is outside), notes their flaws, and writes each row's own
 * loss, unweighted, where row_loss (n) is not NULL. */
double xe_proba_rows_float(const xe_proba *m, ptrdiff_t begin, ptrdiff_t end, double *row_loss, xe_proba_flaws *flaws);
double xe_proba_rows_double(const xe_proba *m, ptrdiff_t begin, ptrdiff_t end, double *row_loss,
                            xe_proba_flaws *flaws);

#endif
