# cython: boundscheck=False, wraparound=False, cdivision=True
"""The log loss of rows of probabilities, and integer labels in a table of classes."""

import numpy as np
from cython cimport floating
from libc.stdint cimport int32_t, int64_t

from ._dispatch cimport kernels_of
from ._threads cimport run_parts
from .kernels cimport xe_kernels
from .proba cimport xe_encode_labels, xe_labels, xe_mark_labels, xe_number_records, xe_proba, xe_proba_flaws

# Partitions depend on the shape alone, and their sums are added in their order: so the result has the same bits for any
# number of threads.
_MAX_PARTITIONS = 32
_MIN_VALUES = 1 << 15  # a partition of its own is worth so many probabilities


cdef struct _Work:
    const xe_kernels *kernels
    const xe_proba *model
    Py_ssize_t n_rows
    Py_ssize_t n_partitions
    double *losses  # the loss of each row, or NULL
    double *sums  # the sum of the losses of each partition
    xe_proba_flaws *flaws  # the flaws of each partition


cdef void _score_partition(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    cdef Py_ssize_t n = work.n_rows
    work.sums[part] = work.kernels.proba_rows(work.model, n * part // work.n_partitions,
                                              n * (part + 1) // work.n_partitions, work.losses, &work.flaws[part])


def mark_labels(labels, low, Py_ssize_t size):
    """Which of the integers low, ..., low + size - 1 occur among `labels`: uint8 array (size,).

    It stops reading when all have occurred.
    """
    cdef Py_ssize_t n = len(labels), first = 0, step = max(4096, size)
    seen = np.zeros(size, dtype=np.uint8)
    cdef unsigned char[::1] out = seen
    cdef xe_labels source
    _keep = _bind_labels(&source, labels, low, None)
    source.table_size = size
    while first < n and size:
        xe_mark_labels(&source, first, min(step, n - first), &out[0])
        first += step
        if seen.all():
            break
    return seen


def encode_labels(labels, low, const int32_t[::1] table not None):
    """``table[label - low]`` of each integer label, -1 where that lies outside of the table: int32 array (n,)."""
    cdef Py_ssize_t n = len(labels)
    out = np.empty(n, dtype=np.int32)
    cdef int32_t[::1] indices = out
    cdef xe_labels source
    _keep = _bind_labels(&source, labels, low, table)
    if n:
        with nogil:
            xe_encode_labels(&source, 0, n, &indices[0])
    return out


def number_records(records, int most=4096):
    """Give records of an array that are equal, byte by byte, the same number, without sorting.

    Parameters
    ----------
    records : array (n,), C-ordered, of any dtype without references
    most : int, a power of two

    Returns
    -------
    numbers : int32 ndarray (n,)
        Numbers from 0 on, in the order of first occurrence; None if there are more than `most` different records.
    first_rows : int64 ndarray
        The first row of each of them.
    """
    cdef Py_ssize_t n = len(records), size = records.dtype.itemsize, n_found
    cdef const unsigned char[::1] raw = records.view(np.uint8)
    numbers, first_rows = np.empty(n, dtype=np.int32), np.empty(most, dtype=np.int64)
    cdef int32_t[::1] to = numbers, slots = np.full(4 * most, -1, dtype=np.int32)
    cdef int64_t[::1] rows = first_rows
    if n == 0:
        return numbers, first_rows[:0]
    with nogil:
        n_found = xe_number_records(&raw[0], n, size, most, &slots[0], &rows[0], &to[0])
    return (None, first_rows) if n_found < 0 else (numbers, first_rows[:n_found])


def proba_rows(const floating[:, ::1] proba, Py_ssize_t n_classes, *, labels=None, low=0,
               const int32_t[::1] table=None, distribution=None, const double[::1] sample_weight=None,
               double eps, double sum_tolerance, double[::1] row_loss=None, int n_threads=1):
    """Sum of the weighted cross-entropies of rows of probabilities, and the first rows that are no probabilities.

    Parameters
    ----------
    proba : float32 or float64 array (n, K)
        Probabilities; or with labels of two classes (n, 1): those of class 1.
    n_classes : int
        K.
    labels : integer array (n,), any width
        A label is class ``table[label - low]``. If that is -1 or outside of the table, its class has the probability 0.
    low : int
    table : int32 array
        Entries in [-1, K).
    distribution : array (n, K), C-ordered, in the dtype of `proba`
        Target probabilities, instead of labels.
    sample_weight : float64 array (n,), optional
        What a row of weight 0 holds does not count.
    eps : float
        Probabilities are clipped to [eps, 1 - eps].
    sum_tolerance : float
        How far the sum of a row may be from 1.
    row_loss : float64 array (n,), optional
        It is overwritten with the loss of each row, unweighted.
    n_threads : int, default=1
        The result is the same, bit for bit, for any number.

    Returns
    -------
    total : float
    outside, off_one, unknown_label : int
        The first row that holds NaN or a number outside of [0, 1] (`total` is then NaN), the first one whose sum is not
        one, and the first one whose label has no class; -1 if there is none.
    """
    cdef Py_ssize_t n = proba.shape[0], n_columns = proba.shape[1], q, i
    cdef const floating[:, ::1] t
    cdef const xe_kernels *kernels = kernels_of(floating is float)
    cdef Py_ssize_t n_partitions = max(1, min(_MAX_PARTITIONS, n, n * n_columns // _MIN_VALUES))
    cdef xe_proba model
    cdef double sums[32]  # _MAX_PARTITIONS
    cdef xe_proba_flaws flaws[32]
    cdef double *losses = NULL
    cdef _Work work
    if n == 0:
        return 0.0, -1, -1, -1
    if n_columns != n_classes and not (n_columns == 1 and n_classes == 2 and distribution is None) or n_classes < 1:
        raise ValueError(f"proba has {n_columns} columns for {n_classes} classes")
    if sample_weight is not None and sample_weight.shape[0] != n or row_loss is not None and row_loss.shape[0] != n:
        raise ValueError(f"sample_weight and row_loss must have {n} entries")
    if (labels is None) == (distribution is None) or labels is not None and (len(labels) != n or table is None):
        raise ValueError(f"pass either {n} labels and their table, or a distribution")
    model.n_classes, model.n_columns = n_classes, n_columns
    model.proba = &proba[0, 0]
    model.distribution = NULL
    model.eps, model.sum_tolerance = eps, sum_tolerance
    model.sample_weight = NULL  # the temporary of a conditional expression would drop the const
    if sample_weight is not None:
        model.sample_weight = &sample_weight[0]
    if row_loss is not None:
        losses = &row_loss[0]
    if labels is not None:
        for i in range(table.shape[0]):
            if not -1 <= table[i] < n_classes:
                raise ValueError(f"table holds {table[i]}, outside of [-1, {n_classes})")
        _keep = _bind_labels(&model.labels, labels, low, table)
    else:
        t = distribution
        if t.shape[0] != n or t.shape[1] != n_classes:
            raise ValueError(f"distribution has shape ({t.shape[0]}, {t.shape[1]}), not ({n}, {n_classes})")
        model.distribution = &t[0, 0]
    for q in range(n_partitions):
        flaws[q].outside = flaws[q].off_one = flaws[q].unknown_label = -1
    work.kernels, work.model, work.n_rows, work.n_partitions = kernels, &model, n, n_partitions
    work.losses, work.sums, work.flaws = losses, sums, flaws
    with nogil:
        run_parts(_score_partition, &work, n_partitions, n_threads)
    cdef double total = 0.0
    cdef xe_proba_flaws first
    first.outside = first.off_one = first.unknown_label = -1
    for q in range(n_partitions):
        total += sums[q]
        if first.outside < 0:
            first.outside = flaws[q].outside
        if first.off_one < 0:
            first.off_one = flaws[q].off_one
        if first.unknown_label < 0:
            first.unknown_label = flaws[q].unknown_label
    return total, first.outside, first.off_one, first.unknown_label


cdef object _bind_labels(xe_labels *source, labels, low, const int32_t[::1] table):
    """Point `source` to integer `labels`; return the array that must be kept alive meanwhile."""
    if labels.dtype.kind not in "biu" or not labels.dtype.isnative:
        raise ValueError(f"labels of dtype {labels.dtype} are no integers in the machine's byte order")
    cdef const unsigned char[::1] raw = labels.view(np.uint8)
    source.labels = &raw[0] if raw.shape[0] else NULL
    source.item_size = labels.dtype.itemsize
    source.is_signed = labels.dtype.kind == "i"
    source.low = <int64_t> (int(low) - (1 << 64) if low >= 1 << 63 else int(low))
    source.table_size = 0 if table is None else table.shape[0]
    source.table = &table[0] if source.table_size else NULL
    return raw
