# cython: boundscheck=False, wraparound=False, cdivision=True
"""Weighted sums of the outer products of rows with themselves."""

import numpy as np

from ._dispatch cimport aligned, kernels_of
from ._threads cimport run_parts
from .kernels cimport xe_kernels


def add_grams(const double[:, ::1] rows, const double[:, :] weights, double[:, :, ::1] to, *, double floor=0.0,
              str compute="float64", int n_threads=1):
    """Add sum_i w_ik x_i x_i^T over the rows to ``to[k]``, for each column k of the weights.

    Parameters
    ----------
    rows : float64 ndarray (n, d), C-ordered
    weights : float64 ndarray (n, m)
        Weights, not negative.
    to : float64 ndarray (m, d, d), C-ordered
        Symmetric matrices.
    floor : float, default=0.0
        Rows whose weight in a column is not above this are left out there, and not read. It is not negative.
    compute : {"float64", "float32"}
        The type of the products, and of their sums over 64 rows. It must hold sqrt(w_ik) x_i and their products.
    n_threads : int, default=1
        Threads share the columns. The result is the same, bit for bit, for any number.

    Returns
    -------
    float64 ndarray (m,)
        The sum of the weights of the rows that were left out.
    """
    cdef Py_ssize_t n = rows.shape[0], d = rows.shape[1], m = weights.shape[1], used
    if weights.shape[0] != n or to.shape[0] != m or to.shape[1] != d or to.shape[2] != d:
        raise ValueError(
            f"rows of shape ({n}, {d}), weights ({weights.shape[0]}, {m}), sums ({to.shape[0]}, {to.shape[1]}, "
            f"{to.shape[2]}): they must be (n, d), (n, m) and (m, d, d)")
    if floor < 0.0:
        raise ValueError(f"floor={floor} must be 0 or more")
    if compute not in ("float32", "float64"):
        raise ValueError(f"compute={compute!r} must be 'float32' or 'float64'")
    if weights.strides[0] % 8 or weights.strides[1] % 8:  # they are a field of a structured array
        weights = np.ascontiguousarray(weights)
    left = np.zeros(m)
    cdef double[::1] left_view = left
    cdef unsigned char[:, ::1] scratch
    cdef _Work work
    if n == 0 or d == 0 or m == 0:
        return left
    used = max(1, min(n_threads, m))
    work.kernels = kernels_of(compute == "float32")
    work.scratch_size = (work.kernels.gram_scratch(d) // 64 + 1) * 64  # threads share no cache line
    scratch = aligned(used * work.scratch_size).reshape(used, work.scratch_size)
    work.scratch = &scratch[0, 0]
    work.rows, work.weights, work.to, work.left = &rows[0, 0], &weights[0, 0], &to[0, 0, 0], &left_view[0]
    work.n_rows, work.n_columns, work.floor = n, d, floor
    work.row_step, work.column_step = weights.strides[0] // 8, weights.strides[1] // 8
    with nogil:
        run_parts(_add_one, &work, m, <int> used)
    return left


cdef struct _Work:
    const xe_kernels *kernels
    const double *rows
    const double *weights
    double *to
    double *left
    Py_ssize_t n_rows
    Py_ssize_t n_columns
    Py_ssize_t row_step
    Py_ssize_t column_step
    double floor
    unsigned char *scratch
    Py_ssize_t scratch_size  # bytes for a thread


cdef void _add_one(void *context, Py_ssize_t k, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    work.left[k] = work.kernels.gram(
        work.rows, work.n_rows, work.n_columns, work.weights + k * work.column_step, work.row_step, work.floor,
        work.scratch + thread * work.scratch_size, work.to + k * work.n_columns * work.n_columns)
