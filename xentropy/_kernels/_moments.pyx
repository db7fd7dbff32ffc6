# cython: boundscheck=False, wraparound=False, cdivision=True
"""Mean and variance of each feature, of dense or CSR rows with weights."""

import numpy as np
from cython cimport floating
from libc.stdint cimport int32_t, int64_t

from ._threads cimport run_parts

ctypedef fused index_t:
    int32_t
    int64_t

# As in _linear.pyx: the partitions are fixed and added in their order, so the threads do not show in the result.
_MAX_PARTITIONS = 16
_MIN_VALUES = 1 << 16


def moments(X, row_weight=None, int n_threads=1):
    """Weighted mean and variance of the columns of X.

    Deviations are taken from a row of X (dense) or from the mean (CSR), so an offset of the data costs no digits.

    Parameters
    ----------
    X : ndarray (n, d), C-ordered, or CSR matrix or array (n, d) that `LinearPass` accepted; float32 or float64
    row_weight : float64 ndarray (n,), optional
        Not negative. A row of weight 0 is not looked at.
    n_threads : int, default=1
        The result is the same, bit for bit, for any number.

    Returns
    -------
    mean, variance : float64 ndarrays (d,)
        The variance is exactly zero where a column is constant.
    """
    n, d = X.shape
    if isinstance(X, np.ndarray):
        # The heaviest row lies within sqrt(n) standard deviations of the mean, whatever the data
        at = 0 if row_weight is None else int(np.argmax(row_weight))
        center = X[at].astype(np.float64)
        total = float(n) if row_weight is None else float(np.sum(row_weight))
        n_partitions = max(1, min(_MAX_PARTITIONS, n * d // _MIN_VALUES))
        sums = np.zeros((n_partitions, 2, d))
        if X.dtype == np.float32:
            _dense_sums[float](X, row_weight, center, sums, n_threads)
        else:
            _dense_sums[double](X, row_weight, center, sums, n_threads)
        first, second = sums.sum(axis=0) / total
        return center + first, np.maximum(second - first * first, 0.0)
    indices = X.indices
    first, second, mass = np.zeros(d), np.zeros(d), np.zeros(d)
    indptr = X.indptr.astype(indices.dtype, copy=False)
    if X.dtype == np.float32 and indices.dtype == np.int32:
        total = _csr_sums[float, int32_t](X.data, indices, indptr, row_weight, first, second, mass)
    elif X.dtype == np.float32:
        total = _csr_sums[float, int64_t](X.data, indices, indptr, row_weight, first, second, mass)
    elif indices.dtype == np.int32:
        total = _csr_sums[double, int32_t](X.data, indices, indptr, row_weight, first, second, mass)
    else:
        total = _csr_sums[double, int64_t](X.data, indices, indptr, row_weight, first, second, mass)
    # what is not stored is zero, at a distance of the mean from the mean
    variance = (second + np.maximum(total - mass, 0.0) * first * first) / total
    variance[np.sqrt(variance) <= 8 * np.finfo(np.float64).eps * np.abs(first)] = 0.0
    return first, variance


cdef int _dense_sums(const floating[:, ::1] X, const double[::1] row_weight, const double[::1] center,
                     double[:, :, ::1] sums, int n_threads) except -1:
    cdef Py_ssize_t n = X.shape[0], d = X.shape[1], n_partitions = sums.shape[0]
    cdef _Work work
    if n == 0 or d == 0:
        return 0
    cdef const double *weight = &row_weight[0] if row_weight is not None else NULL
    work.x, work.x_is_float = &X[0, 0], floating is float
    work.weight, work.center, work.sums = weight, &center[0], &sums[0, 0, 0]
    work.n_rows, work.n_features, work.n_partitions = n, d, n_partitions
    with nogil:
        run_parts(_sum_partition, &work, n_partitions, n_threads)
    return 0


cdef struct _Work:
    const void *x
    bint x_is_float
    const double *weight
    const double *center
    double *sums  # (n_partitions, 2, n_features)
    Py_ssize_t n_rows
    Py_ssize_t n_features
    Py_ssize_t n_partitions


cdef void _sum_partition(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    cdef Py_ssize_t n = work.n_rows, d = work.n_features
    cdef Py_ssize_t begin = n * part // work.n_partitions, end = n * (part + 1) // work.n_partitions
    cdef double *first = work.sums + 2 * d * part
    if work.x_is_float:
        _dense_rows(<const float *> work.x, work.weight, work.center, begin, end, d, first, first + d)
    else:
        _dense_rows(<const double *> work.x, work.weight, work.center, begin, end, d, first, first + d)


cdef void _dense_rows(const floating *X, const double *weight, const double *center, Py_ssize_t begin, Py_ssize_t end,
                      Py_ssize_t d, double *first, double *second) noexcept nogil:
    cdef Py_ssize_t i = begin, j, r, n
    cdef const floating *rows[4]
    cdef double s[4]
    cdef double x0, x1, x2, x3
    while i < end:
        n = 0  # four rows at a time: each sum is loaded and stored once for all of them
        while n < 4 and i < end:
            s[n] = weight[i] if weight != NULL else 1.0
            rows[n] = X + i * d
            n += s[n] != 0.0
            i += 1
        for r in range(n, 4):
            s[r], rows[r] = 0.0, rows[0]
        if n == 0:
            break
        for j in range(d):
            x0, x1 = <double> rows[0][j] - center[j], <double> rows[1][j] - center[j]
            x2, x3 = <double> rows[2][j] - center[j], <double> rows[3][j] - center[j]
            first[j] += (s[0] * x0 + s[1] * x1) + (s[2] * x2 + s[3] * x3)
            second[j] += (s[0] * x0 * x0 + s[1] * x1 * x1) + (s[2] * x2 * x2 + s[3] * x3 * x3)


cdef double _csr_sums(const floating[::1] data, const index_t[::1] indices, const index_t[::1] indptr,
                      const double[::1] row_weight, double[::1] first, double[::1] second,
                      double[::1] mass) except -1.0:
    """`first` becomes the mean; `second` the sum of squared deviations from it, and `mass` the weight, of what is
    stored. Returns the weight of all rows, summed in the order of `mass`: a column that is stored in every row has that
    mass, bit for bit. A column that is stored twice in a row counts twice: its scale is off, nothing else."""
    cdef Py_ssize_t i, t, j, n = indptr.shape[0] - 1, d = first.shape[0]
    cdef double s, x, total = 0.0
    with nogil:
        for i in range(n):
            s = row_weight[i] if row_weight is not None else 1.0
            total += s
            if s != 0.0:
                for t in range(indptr[i], indptr[i + 1]):
                    first[indices[t]] += s * data[t]
        for j in range(d):
            first[j] /= total
        for i in range(n):
            s = row_weight[i] if row_weight is not None else 1.0
            if s != 0.0:
                for t in range(indptr[i], indptr[i + 1]):
                    j = indices[t]
                    x = data[t] - first[j]
                    second[j] += s * x * x
                    mass[j] += s
    return total
