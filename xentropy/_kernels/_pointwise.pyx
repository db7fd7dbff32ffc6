# cython: boundscheck=False, wraparound=False, cdivision=True
"""Row by row on logits or probabilities: no model, no data set."""

import numpy as np
from cython cimport floating
from cython.parallel cimport prange

from ._linear import ISA
from .kernels cimport xe_choose_isa, xe_softmax_double, xe_softmax_float

xe_choose_isa(ISA.encode())  # each extension holds a copy of the kernels

_ROWS = 256  # rows of a chunk: what a thread takes at a time


def softmax(const floating[:, ::1] logits, *, bint log=False, int n_threads=1):
    """Softmax of each row, or its logarithm, as a new array of the same shape and dtype.

    A row that holds NaN or +inf, or -inf in every class, has no distribution and gives NaN.
    """
    cdef Py_ssize_t n = logits.shape[0], n_classes = logits.shape[1], c, first, step = _ROWS
    dtype = np.float32 if floating is float else np.float64
    out = np.empty((n, n_classes), dtype=dtype)
    cdef floating[:, ::1] result = out
    if n == 0 or n_classes == 0:
        return out
    for c in prange((n + step - 1) // step, nogil=True, num_threads=n_threads, schedule="dynamic"):
        first = c * step
        if floating is float:
            xe_softmax_float(&logits[first, 0], min(step, n - first), n_classes, log, &result[first, 0])
        else:
            xe_softmax_double(&logits[first, 0], min(step, n - first), n_classes, log, &result[first, 0])
    return out


def first_bad_distribution(const floating[:, ::1] y, double rtol):
    """Index of the first row with a negative or NaN entry, or a sum further than `rtol` from 1; -1 if there is none."""
    cdef Py_ssize_t i, k, n = y.shape[0], n_classes = y.shape[1], bad = -1
    cdef double total, least
    with nogil:
        for i in range(n):
            total, least = 0.0, 0.0
            for k in range(n_classes):
                total = total + y[i, k]
                least = min(least, <double> y[i, k])
            # written so that NaN fails
            if not (least >= 0.0 and total >= 1.0 - rtol and total <= 1.0 + rtol):
                bad = i
                break
    return bad
