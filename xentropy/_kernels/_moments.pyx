# cython: boundscheck=False, wraparound=False, cdivision=True
"""Mean and variance of each feature, over dense or CSR rows with weights."""

import numpy as np
from cython cimport floating
from libc.stdint cimport int32_t, int64_t

from ._dispatch cimport kernels_of
from ._threads cimport run_parts
from .kernels cimport xe_kernels

ctypedef fused index_t:
    int32_t
    int64_t

# As in _linear.pyx, partitions are fixed and added in their order: so the result does not depend on the number of
# threads.
_MAX_PARTITIONS = 16
_MIN_VALUES = 1 << 16


def moments(X, row_weight=None, int n_threads=1):
    """Weighted mean and variance of the columns of X.

    Deviations are taken from a row of X (dense) or from the mean (CSR), so an offset of the data costs no digits.

    Parameters
    ----------
    X : ndarray (n, d), C-ordered, or CSR matrix or array (n, d) that `LinearPass` accepted; float32 or float64
    row_weight : float64 ndarray (n,), optional
        Weights, not negative. A row of weight 0 is not read.
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
    indices = X.indices if X.indices.dtype == np.int32 else X.indices.astype(np.int64, copy=False)
    first, second, mass = np.zeros(d), np.zeros(d), np.zeros(d)
    indptr = X.indptr.astype(np.int64, copy=False)  # 32 bits may hold the columns, but not how many values there are
    if X.dtype == np.float32 and indices.dtype == np.int32:
        total = _csr_sums[float, int32_t](X.data, indices, indptr, row_weight, first, second, mass)
    elif X.dtype == np.float32:
        total = _csr_sums[float, int64_t](X.data, indices, indptr, row_weight, first, second, mass)
    elif indices.dtype == np.int32:
        total = _csr_sums[double, int32_t](X.data, indices, indptr, row_weight, first, second, mass)
    else:
        total = _csr_sums[double, int64_t](X.data, indices, indptr, row_weight, first, second, mass)
    # the other values are zero, and so at a distance of the mean from the mean
    variance = (second + np.maximum(total - mass, 0.0) * first * first) / total
    variance[np.sqrt(variance) <= 8 * np.finfo(np.float64).eps * np.abs(first)] = 0.0
    return first, variance


cdef int _dense_sums(const floating[:, ::1] X, const double[::1] row_weight, const double[::1] center,
                     double[:, :, ::1] sums, int n_threads) except -1:
    cdef Py_ssize_t n = X.shape[0], d = X.shape[1], n_partitions = sums.shape[0]
    cdef _Work work
    if n == 0 or d == 0:
        return 0
    work.kernels = kernels_of(floating is float)
    work.x, work.center, work.sums = &X[0, 0], &center[0], &sums[0, 0, 0]
    work.weight = &row_weight[0] if row_weight is not None else NULL
    work.n_rows, work.n_features, work.n_partitions = n, d, n_partitions
    with nogil:
        run_parts(_sum_partition, &work, n_partitions, n_threads)
    return 0


cdef struct _Work:
    const xe_kernels *kernels
    const void *x
    const double *weight
    const double *center
    double *sums  # (n_partitions, 2, n_features)
    Py_ssize_t n_rows
    Py_ssize_t n_features
    Py_ssize_t n_partitions


cdef void _sum_partition(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    cdef Py_ssize_t n = work.n_rows, d = work.n_features
    cdef double *first = work.sums + 2 * d * part
    work.kernels.moments(work.x, work.weight, work.center, n * part // work.n_partitions,
                         n * (part + 1) // work.n_partitions, d, first, first + d)


cdef double _csr_sums(const floating[::1] data, const index_t[::1] indices, const int64_t[::1] indptr,
                      const double[::1] row_weight, double[::1] first, double[::1] second,
                      double[::1] mass) except -1.0:
    """Write the mean of each column to `first`, and over its values the sum of squared deviations from it to `second`
    and the sum of the weights to `mass`. Return the weight of all rows, summed in the same order: a column with a value
    in every row has that mass, bit for bit. A column that occurs twice in a row counts twice, which changes nothing but
    its scale."""
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
