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
    ptrdiff_t xe_number_records(const unsigned char *records, ptrdiff_t n, ptrdiff_t size, int32_t most,
                                int32_t *slots, int64_t *first_row, int32_t *number)
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
