from libc.stdint cimport int32_t, int64_t

cdef extern from "proba.h" nogil:
    ctypedef struct xe_labels:
        const void *labels
        int item_size
        int is_signed
        int64_t low
        ptrdiff_t table_size
        const int32_t *table

    ptrdiff_t xe_encode_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, int32_t *out)
    void xe_mark_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, unsigned char *seen)

    ctypedef struct xe_proba:
        ptrdiff_t n_classes
        ptrdiff_t n_columns
        const void *proba
        xe_labels labels
        const void *distribution
        const double *sample_weight
        double eps
        double sum_tolerance

    ctypedef struct xe_proba_flaws:
        ptrdiff_t outside
        ptrdiff_t off_one
        ptrdiff_t unknown_label
