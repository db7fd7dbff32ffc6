/* The seam between Cython and C.
 *
 * Cython checks shapes and indices, owns every buffer, cuts the rows into partitions and runs them on threads. The C
 * functions here see some successive rows at a time. They never allocate, never raise and never write to their input.
 * None keeps more than some kilobytes on the stack, which a user may have made small for every thread: see
 * threading.stack_size. What takes more lies in the scratch that Cython gives them.
 *
 * "REAL" below is the type that logits and gradients are computed in, float or double; each table holds the functions
 * for one of them. Every sum that grows with the number of rows is a double.
 */
#ifndef XENTROPY_KERNELS_H
#define XENTROPY_KERNELS_H

#include "proba.h"

#include <stddef.h>
#include <stdint.h>

/* A loss of the family, L = sum_k a_k phi(-log p_k): phi.h has the formulas. All zero is the cross-entropy. */
enum { XE_MAX_PARAMS = 2 };
typedef struct {
    int kind; /* xe_loss_kind(name) */
    double param[XE_MAX_PARAMS];
} xe_loss;

/* The kind of the loss of that name in the table of phi.h, or -1. */
int xe_loss_kind(const char *name);

/* What the rows are compared with. The weighted, smoothed target of row i is
 *     a_k = scale s_i w_k t_k,   t_k = (1 - smoothing) y_ik + smoothing / K.
 */
typedef struct {
    xe_loss loss;
    double scale;                 /* 1, or 1 / (sum of the weights): the loss and its gradient are then means */
    ptrdiff_t n_classes;          /* K */
    const int32_t *labels;        /* (n) in [0, K), or NULL */
    const void *distribution;     /* (n, K) REAL, where labels is NULL */
    const double *sample_weight;  /* (n), or NULL: all one. A row of weight 0 is never read */
    const double *class_weight;   /* (K), or NULL: all one */
    double smoothing;             /* in [0, 1] */
} xe_target;

/* Independent binary targets. The weights of element i are a_1 = scale s c t for class 1 and a_0 = scale s (1 - t) for
 * class 0, where t = (1 - smoothing) y_i + smoothing / 2. */
typedef struct {
    xe_loss loss;
    double scale;
    const void *y;                /* (n) REAL in [0, 1] */
    const double *sample_weight;  /* (n / run), or NULL: all one. Elements of weight 0 are never read */
    ptrdiff_t run;                /* successive elements that share a sample weight */
    const double *pos_weight;     /* c: (period), repeated along the elements; or NULL: all one */
    ptrdiff_t period;
    double smoothing;
} xe_binary_target;

/* Independent binary targets of a linear model: output k has column label[k] of y. Its loss and its weights are those of
 * a binary target, and weights and smoothing are those of the xe_target beside it. */
typedef struct {
    const void *y;          /* (n, n_labels), in [0, 1] or missing; NULL: outputs are classes, or there is one logit */
    int y_bytes;            /* 1: uint8, where 2 is missing; 4 and 8: float and double, where NaN is missing */
    ptrdiff_t n_labels;
    const int64_t *label;   /* (R), in [0, n_labels) */
    const double *positive; /* (R): weights of y = 1 */
    const double *negative; /* (R): weights of y = 0 */
    double *loss;           /* OUT (R): the sum of the losses of each output */
} xe_indicator;

/* A copy of the values of CSR X, tile by tile of successive rows, and in each tile column by column. */
typedef struct {
    ptrdiff_t n_tiles;           /* 0: there are none, and X itself is read */
    ptrdiff_t most_rows;         /* in a tile, at most 65536 */
    const int64_t *first_row;    /* (n_tiles + 1) */
    const int64_t *first_column; /* (n_tiles + 1): of each tile, in column and length */
    const int64_t *first_value;  /* (n_tiles + 1): of each tile, in row and x */
    /* With by_length, the columns of a tile are in the order of their lengths. Otherwise they ascend, and with
     * part_rows each long one is cut into parts of so many rows, which come last, part after part. */
    int by_length;
    ptrdiff_t part_rows;
    const int32_t *column;       /* the columns that a tile has values in */
    const int32_t *length;       /* how many values each has */
    const uint16_t *row;         /* each value's row, counted from the first row of its tile */
    const void *x;               /* the values, in the type of X, without those of ignored rows */
} xe_tiles;

/* A linear model on one data set: logits z = x W^T + b. One output is the sigmoid form: z = logit of class 1. */
typedef struct {
    ptrdiff_t n_rows;       /* n */
    const int64_t *rows;    /* (n): which rows of dense x are used; NULL: all, in their order */
    ptrdiff_t n_features;   /* d */
    ptrdiff_t n_outputs;    /* R = K, or 1 where K = 2 */
    ptrdiff_t block_rows;   /* rows whose logits are computed at a time */
    int x_is_float;         /* the type X is stored in; REAL may be wider */
    const void *x;          /* dense: (n, d) C-ordered; CSR: (nnz) */
    const double *shift;    /* (d): is subtracted from each row of dense x as it is read; NULL: zero */
    int indices_are_64;
    int in_place;           /* CSR: coef is read and grad_coef is summed without copies: no packing, no partials */
    const void *indices;    /* CSR: columns, in [0, d); NULL for dense X */
    const void *indptr;     /* CSR: (n + 1) */
    xe_tiles tiles;
    const void *packed;     /* what linear_pack made of the coefficients */
    const double *coef;     /* (d, R), where in_place */
    double *grad_coef;      /* OUT (d, R), where in_place, which allows one partition only */
    xe_target target;
    xe_indicator indicator;
    double *row_loss;       /* OUT (n), or NULL: the loss of each row */
    void *grad_x;           /* OUT (n, d) REAL, or NULL: the gradient with respect to dense X, G W */
} xe_linear;

/* Compares rows first..first + n_rows of a target with their logits. Writes each row's loss, and its gradient with
 * respect to the logits, where these are not NULL (grad never overlaps z). Returns the sum of the losses. */
#define XE_ROWS_ARGS(REAL) \
    const xe_target *target, ptrdiff_t first, ptrdiff_t n_rows, const REAL *z, REAL *grad, double *row_loss

/* The same for elements of a binary target. */
#define XE_BINARY_ARGS(REAL) \
    const xe_binary_target *target, ptrdiff_t first, ptrdiff_t n, const REAL *z, REAL *grad, double *element_loss

/* Writes rows of H v to out, where H is the Hessian of a row's loss with respect to its logits. v and out are (n, K)
 * for the softmax, and (n) for the sigmoid form. */
#define XE_HESSIAN_ARGS(REAL) \
    const xe_target *target, ptrdiff_t first, ptrdiff_t n_rows, const REAL *z, const REAL *v, REAL *out

/* What linear_predict and softmax write; softmax writes no classes. */
enum { XE_LOGITS, XE_PROBABILITIES, XE_LOG_PROBABILITIES, XE_CLASSES };

/* What triangular_apply makes of a vector v: L^T v, L^-T v or L^-1 v. */
enum { XE_TO_X, XE_TO_THETA, XE_TO_GRADIENT };

/* The kernels of one instruction set, for one REAL. A linear model is evaluated in this order:
 * linear_pack once, linear_rows for each partition of the rows, linear_combine once. */
typedef struct {
    int is_float;     /* REAL */
    int gathers_fast; /* with one output, a CSR row loads its coefficients as fast as a tile does */
    /* The bytes of p->packed. */
    size_t (*linear_packed)(const xe_linear *p);
    /* Copies coef (d, R) and intercept (R) to p->packed, in an order that only the kernels know: features
     * begin..end, so that threads can share the work. */
    void (*linear_pack)(const xe_linear *p, const double *coef, const double *intercept, ptrdiff_t begin,
                        ptrdiff_t end, void *to);
    /* The bytes of scratch that one thread needs in linear_rows and linear_predict. */
    size_t (*linear_scratch)(const xe_linear *p);
    /* The doubles of a partial gradient, with the losses of the labels if there are labels. */
    ptrdiff_t (*linear_partial)(const xe_linear *p);
    /* Returns the sum of the losses of rows begin..end, which are whole tiles if there are tiles, and overwrites
     * partial with its gradient. */
    double (*linear_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch, double *partial);
    /* Sums n_partials gradients, in their order, into grad_coef (d, R) and grad_intercept (R): features begin..end.
     * With in_place, it sums the gradients of the intercept only. If there are labels, it also sums their losses. */
    void (*linear_combine)(const xe_linear *p, const double *partials, ptrdiff_t n_partials, ptrdiff_t begin,
                           ptrdiff_t end, double *grad_coef, double *grad_intercept);
    /* Writes rows begin..end of out, which is (n, K) REAL for probabilities, (n, R) REAL for logits and (n)
     * ptrdiff_t for classes. Returns whether all logits are finite. */
    int (*linear_predict)(const xe_linear *p, int kind, ptrdiff_t begin, ptrdiff_t end, void *scratch, void *out);

    /* Over rows begin..end of X (n, d) REAL, adds sum_i s_i (x_ij - center_j) to first (d) and sum_i s_i (x_ij -
     * center_j)^2 to second (d). A row of weight 0 is not read; weight (n) may be NULL. */
    void (*moments)(const void *x, const double *weight, const double *center, ptrdiff_t begin, ptrdiff_t end,
                    ptrdiff_t d, double *first, double *second);

    /* Adds sum_i w_i x_i x_i^T over the rows of x (n, d) whose weight is above `floor`, which is not negative, to the
     * symmetric matrix `to` (d, d). Returns the weight of the other rows, which are not read. Weights lie weight_step
     * apart. Products and their sums over some rows are REAL, the sum of these is double. */
    size_t (*gram_scratch)(ptrdiff_t d); /* bytes */
    double (*gram)(const double *x, ptrdiff_t n_rows, ptrdiff_t d, const double *weight, ptrdiff_t weight_step,
                   double floor, void *scratch, double *to);

    /* The bytes of scratch that one thread needs in softmax_rows and softmax. */
    size_t (*rows_scratch)(ptrdiff_t n_classes);
    double (*softmax_rows)(XE_ROWS_ARGS(void), void *scratch);
    double (*sigmoid_rows)(XE_ROWS_ARGS(void));
    double (*binary)(XE_BINARY_ARGS(void));
    void (*softmax_hessian)(XE_HESSIAN_ARGS(void));
    void (*sigmoid_hessian)(XE_HESSIAN_ARGS(void));
    /* Writes the softmax of rows of K logits to out, which may be z. */
    void (*softmax)(const void *z, ptrdiff_t n_rows, ptrdiff_t n_classes, int kind, void *scratch, void *out);
    /* Returns the weighted loss of rows begin..end of probabilities, which is NaN if one is outside of [0, 1], records
     * their flaws, and writes each row's loss, unweighted, to row_loss (n) unless that is NULL. */
    double (*proba_rows)(const xe_proba *m, ptrdiff_t begin, ptrdiff_t end, double *row_loss, xe_proba_flaws *flaws);
    /* Returns the first row, among those of weight > 0, that is no distribution, or -1: it holds a number that is
     * negative or NaN, or its sum is further than `tolerance` from 1. */
    ptrdiff_t (*bad_distribution)(const void *y, ptrdiff_t n_rows, ptrdiff_t n_classes, double tolerance,
                                  const double *weight);
    /* Returns sum_i s_i sum_k w_k y_ik over the rows whose weight s_i is not 0. */
    double (*distribution_mass)(const void *y, ptrdiff_t n_rows, ptrdiff_t n_classes, const double *weight,
                                const double *class_weight);
    /* Returns a number of leading entries that are in [0, 1]: those before the first block that holds another one, or
     * before the last block. */
    ptrdiff_t (*in_unit_interval)(const void *y, ptrdiff_t n);
    /* Elementary functions, for the tests that measure them: exp takes numbers <= 0, log and log1p take doubles >=
     * 0. */
    void (*exp)(const void *x, ptrdiff_t n, void *out);
    void (*log)(const double *x, ptrdiff_t n, double *out);
    void (*log1p)(const double *x, ptrdiff_t n, double *out);

    /* A lower triangular factor (m, m), its rows and columns so many numbers apart, into `to`, of which REAL is the type
     * that it is stored in; what is above the diagonal is not looked at. */
    size_t (*triangular_packed)(ptrdiff_t m); /* bytes, whole cache lines */
    void (*triangular_pack)(const double *factor, ptrdiff_t row_step, ptrdiff_t column_step, ptrdiff_t m, void *to);
    /* x (m, n_columns) into out, column by column, by the one packed factor or by one for each column, which lie one
     * after the other. Of one for each, XE_TO_THETA also subtracts from each row its mean. */
    size_t (*triangular_scratch)(ptrdiff_t m); /* bytes */
    void (*triangular_apply)(int kind, const void *packed, ptrdiff_t n_factors, ptrdiff_t m, ptrdiff_t n_columns,
                             const double *x, void *scratch, double *out);
} xe_kernels;

/* ---- tiles.c ---- */

/* Returns where the values of a row of CSR X start. */
ptrdiff_t xe_row_start(const xe_linear *p, ptrdiff_t row);
/* Makes a tile of rows begin..end, which hold at most 2^31 values: writes the row and x of its values, its columns and
 * their lengths, and n_columns, in the order that p->tiles has. Returns the number of values. keys, sorted and rows are
 * scratch for that many values. */
ptrdiff_t xe_tile(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, uint64_t *keys, uint64_t *sorted, uint16_t *rows,
                  uint16_t *row, void *x, int32_t *column, int32_t *length, ptrdiff_t *n_columns);

/* The compiler that built this. */
const char *xe_compiler(void);

/* ---- the instruction set in use: dispatch.c ---- */

/* The names, best first, and NULL past the last one. */
const char *xe_isa_name(int isa);
/* Whether the processor and the operating system have it. */
int xe_isa_is_available(int isa);
/* Uses the set of that name, or the best one where name is NULL; returns its index, -1 where there is none. */
int xe_choose_isa(const char *name);
/* Whether this is one of Intel's servers. Their last cache answers from across a mesh, in twice the time that AMD's
 * takes, and a core's own cache is larger. */
int xe_has_slow_last_cache(void);

/* The chosen table for float or double. */
const xe_kernels *xe_kernels_of(int is_float);

#endif
