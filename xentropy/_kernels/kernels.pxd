from libc.stdint cimport int32_t, int64_t, uint16_t, uint64_t

from .proba cimport xe_proba, xe_proba_flaws

cdef extern from "kernels.h" nogil:
    enum: XE_MAX_PARAMS

    ctypedef struct xe_loss:
        int kind
        double param[2]

    int xe_loss_kind(const char *name)

    ctypedef struct xe_target:
        xe_loss loss
        double scale
        ptrdiff_t n_classes
        const int32_t *labels
        const void *distribution
        const double *sample_weight
        const double *class_weight
        double smoothing

    ctypedef struct xe_binary_target:
        xe_loss loss
        double scale
        const void *y
        const double *sample_weight
        ptrdiff_t run
        const double *pos_weight
        ptrdiff_t period
        double smoothing

    ctypedef struct xe_indicator:
        const void *y
        int y_bytes
        ptrdiff_t n_labels
        const int64_t *label
        const double *positive
        const double *negative
        double *loss

    ctypedef struct xe_tiles:
        ptrdiff_t n_tiles
        ptrdiff_t most_rows
        const int64_t *first_row
        const int64_t *first_column
        const int64_t *first_value
        int by_length
        ptrdiff_t part_rows
        const int32_t *column
        const int32_t *length
        const uint16_t *row
        const void *x

    ctypedef struct xe_linear:
        ptrdiff_t n_rows
        const int64_t *rows
        ptrdiff_t n_features
        ptrdiff_t n_outputs
        ptrdiff_t block_rows
        int x_is_float
        const void *x
        const double *shift
        int indices_are_64
        int in_place
        const void *indices
        const void *indptr
        xe_tiles tiles
        const void *packed
        const double *coef
        double *grad_coef
        xe_target target
        xe_indicator indicator
        double *row_loss
        void *grad_x

    ctypedef enum:
        XE_LOGITS
        XE_PROBABILITIES
        XE_LOG_PROBABILITIES
        XE_CLASSES

    enum: XE_TO_X
    enum: XE_TO_THETA
    enum: XE_TO_GRADIENT

    ctypedef struct xe_kernels:
        int is_float
        int gathers_fast
        size_t (*linear_packed)(const xe_linear *p) noexcept nogil
        void (*linear_pack)(const xe_linear *p, const double *coef, const double *intercept, ptrdiff_t begin,
                            ptrdiff_t end, void *to) noexcept nogil
        size_t (*linear_scratch)(const xe_linear *p) noexcept nogil
        ptrdiff_t (*linear_partial)(const xe_linear *p) noexcept nogil
        double (*linear_rows)(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, void *scratch,
                              double *partial) noexcept nogil
        void (*linear_combine)(const xe_linear *p, const double *partials, ptrdiff_t n_partials, ptrdiff_t begin,
                               ptrdiff_t end, double *grad_coef, double *grad_intercept) noexcept nogil
        int (*linear_predict)(const xe_linear *p, int kind, ptrdiff_t begin, ptrdiff_t end, void *scratch,
                              void *out) noexcept nogil
        void (*moments)(const void *x, const double *weight, const double *center, ptrdiff_t begin, ptrdiff_t end,
                        ptrdiff_t d, double *first, double *second) noexcept nogil
        size_t (*gram_scratch)(ptrdiff_t d) noexcept nogil
        double (*gram)(const double *x, ptrdiff_t n_rows, ptrdiff_t d, const double *weight, ptrdiff_t weight_step,
                       double floor, void *scratch, double *to) noexcept nogil
        size_t (*rows_scratch)(ptrdiff_t n_classes) noexcept nogil
        double (*softmax_rows)(const xe_target *target, ptrdiff_t first, ptrdiff_t n_rows, const void *z, void *grad,
                               double *row_loss, void *scratch) noexcept nogil
        double (*binary)(const xe_binary_target *target, ptrdiff_t first, ptrdiff_t n, const void *z, void *grad,
                         double *element_loss) noexcept nogil
        void (*softmax_hessian)(const xe_target *target, ptrdiff_t first, ptrdiff_t n_rows, const void *z,
                                const void *v, void *out) noexcept nogil
        void (*sigmoid_hessian)(const xe_target *target, ptrdiff_t first, ptrdiff_t n_rows, const void *z,
                                const void *v, void *out) noexcept nogil
        void (*softmax)(const void *z, ptrdiff_t n_rows, ptrdiff_t n_classes, int kind, void *scratch,
                        void *out) noexcept nogil
        void (*exp)(const void *x, ptrdiff_t n, void *out) noexcept nogil
        double (*proba_rows)(const xe_proba *m, ptrdiff_t begin, ptrdiff_t end, double *row_loss,
                             xe_proba_flaws *flaws) noexcept nogil
        ptrdiff_t (*bad_distribution)(const void *y, ptrdiff_t n_rows, ptrdiff_t n_classes, double tolerance,
                                      const double *weight) noexcept nogil
        double (*distribution_mass)(const void *y, ptrdiff_t n_rows, ptrdiff_t n_classes, const double *weight,
                                    const double *class_weight) noexcept nogil
        ptrdiff_t (*in_unit_interval)(const void *y, ptrdiff_t n) noexcept nogil
        void (*log)(const double *x, ptrdiff_t n, double *out) noexcept nogil
        void (*log1p)(const double *x, ptrdiff_t n, double *out) noexcept nogil
        size_t (*triangular_packed)(ptrdiff_t m) noexcept nogil
        void (*triangular_pack)(const double *factor, ptrdiff_t row_step, ptrdiff_t column_step, ptrdiff_t m,
                                void *to) noexcept nogil
        size_t (*triangular_scratch)(ptrdiff_t m) noexcept nogil
        void (*triangular_apply)(int kind, const void *packed, ptrdiff_t n_factors, ptrdiff_t m, ptrdiff_t n_columns,
                                 const double *x, void *scratch, double *out) noexcept nogil

    ptrdiff_t xe_row_start(const xe_linear *p, ptrdiff_t row)
    ptrdiff_t xe_tile(const xe_linear *p, ptrdiff_t begin, ptrdiff_t end, uint64_t *keys, uint64_t *sorted_,
                      uint16_t *rows, uint16_t *row, void *x, int32_t *column, int32_t *length, ptrdiff_t *n_columns)

    const char *xe_compiler()
    const char *xe_isa_name(int isa)
    int xe_isa_is_available(int isa)
    int xe_choose_isa(const char *name)
    int xe_has_slow_last_cache()
    const xe_kernels *xe_kernels_of(int is_float)
