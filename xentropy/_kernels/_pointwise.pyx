# cython: boundscheck=False, wraparound=False, cdivision=True
"""Losses, gradients and probabilities of rows of logits, without a model or a data set."""

import numpy as np
from cython cimport floating
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc

from ._dispatch cimport kernels_of, loss_of
from ._threads cimport part_of_work, run_parts
from .kernels cimport (
    XE_LOG_PROBABILITIES, XE_PROBABILITIES, xe_binary_target, xe_kernels, xe_target,
)

ctypedef fused integer:
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t

cdef enum:
    _LINE = 64  # bytes of a cache line, which threads do not share

# Rows are cut into chunks. A thread takes the next free one, and the sums of the chunks are added in their order: so
# the result does not depend on the number of threads.
_CHUNK_VALUES = 1 << 14


cdef struct _Work:  # rows of logits, whose chunks threads share
    const xe_kernels *kernels
    const xe_target *target
    const xe_binary_target *binary
    Py_ssize_t n_rows
    Py_ssize_t chunk_rows
    Py_ssize_t n_classes
    Py_ssize_t row_bytes
    const char *z
    char *out  # the gradient or NULL, or the result of the softmax
    double *losses  # the loss of each row, or NULL
    double *sums  # the sum of the losses of each chunk
    int kind
    unsigned char *scratch
    Py_ssize_t scratch_size  # bytes for a thread


cdef void _softmax_chunk(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    cdef Py_ssize_t first = part * work.chunk_rows
    work.sums[part] = work.kernels.softmax_rows(
        work.target, first, min(work.chunk_rows, work.n_rows - first), work.z + first * work.row_bytes,
        work.out + first * work.row_bytes if work.out != NULL else NULL,
        work.losses + first if work.losses != NULL else NULL, work.scratch + thread * work.scratch_size)


cdef void _binary_chunk(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    cdef Py_ssize_t first = part * work.chunk_rows
    work.sums[part] = work.kernels.binary(
        work.binary, first, min(work.chunk_rows, work.n_rows - first), work.z + first * work.row_bytes,
        work.out + first * work.row_bytes if work.out != NULL else NULL,
        work.losses + first if work.losses != NULL else NULL)


cdef void _probability_chunk(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    cdef Py_ssize_t first = part * work.chunk_rows
    work.kernels.softmax(work.z + first * work.row_bytes, min(work.chunk_rows, work.n_rows - first), work.n_classes,
                         work.kind, work.scratch + thread * work.scratch_size, work.out + first * work.row_bytes)


cdef double _run(part_of_work chunk, _Work *work, int n_threads, size_t scratch_size=0) except? -1.0:
    """Work on all chunks, where each thread needs that much scratch; return the sum of their losses."""
    cdef Py_ssize_t n_chunks = (work.n_rows + work.chunk_rows - 1) // work.chunk_rows, c
    cdef double[::1] sums = np.zeros(n_chunks)
    cdef double total = 0.0
    cdef unsigned char *scratch
    work.sums = &sums[0]
    n_threads = <int> max(1, min(n_threads, n_chunks))
    work.scratch_size = (scratch_size + _LINE - 1) // _LINE * _LINE
    scratch = <unsigned char *> malloc(n_threads * work.scratch_size + _LINE)
    if scratch == NULL:
        raise MemoryError
    work.scratch = scratch + (-<uintptr_t> scratch) % _LINE
    with nogil:
        run_parts(chunk, work, n_chunks, n_threads)
    free(scratch)
    for c in range(n_chunks):
        total += sums[c]
    return total


cdef class _Target:
    """What rows of logits are compared with, as the kernels take it: see `softmax_loss`."""

    cdef xe_target c
    cdef object _keep  # the arrays that the pointers in `c` point to

    def __init__(self, Py_ssize_t n_rows, Py_ssize_t n_classes, dtype, labels, distribution, sample_weight,
                 class_weight, double label_smoothing, loss, double scale):
        cdef const int32_t[::1] y
        cdef const float[:, ::1] q_float
        cdef const double[:, ::1] q_double
        cdef const double[::1] s, w
        self.c.n_classes, self.c.smoothing, self.c.scale = n_classes, label_smoothing, scale
        self.c.loss = loss_of(loss)
        self._keep = labels, distribution, sample_weight, class_weight
        if (labels is None) == (distribution is None):
            raise ValueError("pass either labels or distribution")
        if labels is not None:
            y = labels
            _check_shape("labels", labels, (n_rows,))
            self.c.labels = &y[0] if n_rows else NULL
        elif dtype == np.float32:
            q_float = distribution
            _check_shape("distribution", distribution, (n_rows, n_classes))
            self.c.distribution = &q_float[0, 0] if n_rows else NULL
        else:
            q_double = distribution
            _check_shape("distribution", distribution, (n_rows, n_classes))
            self.c.distribution = &q_double[0, 0] if n_rows else NULL
        if sample_weight is not None:
            s = sample_weight
            _check_shape("sample_weight", sample_weight, (n_rows,))
            self.c.sample_weight = &s[0] if n_rows else NULL
        if class_weight is not None:
            w = class_weight
            _check_shape("class_weight", class_weight, (n_classes,))
            self.c.class_weight = &w[0]


cdef int _check_shape(str name, array, tuple shape) except -1:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, not {shape}")
    return 0


def softmax_loss(const floating[:, ::1] logits, *, labels=None, distribution=None, sample_weight=None,
                 class_weight=None, double label_smoothing=0.0, loss=None, double scale=1.0,
                 double[::1] row_loss=None, floating[:, ::1] grad=None, int n_threads=1):
    """Sum of the losses of rows of logits; writes each row's loss and gradient if given arrays for them.

    Parameters
    ----------
    logits : array (n, K), K >= 1
    labels : int32 ndarray (n,), optional
        Class indices in [0, K), which `encode_labels` has checked. Either these or `distribution`.
    distribution : ndarray (n, K), C-ordered, in the dtype of `logits`, optional
    sample_weight : float64 ndarray (n,), optional
        A row of weight 0 is not read.
    class_weight : float64 ndarray (K,), optional
    label_smoothing : float, default=0.0
    loss : (str, tuple of floats), optional
        The name of a formula in phi.h, and its parameters; None is the cross-entropy.
    scale : float, default=1.0
        Every weight is multiplied by it.
    row_loss : float64 array (n,), optional
        Overwritten with the losses.
    grad : array (n, K) of the dtype of `logits`, optional
        Overwritten with the gradient.
    n_threads : int, default=1
        The result is the same, bit for bit, for any number.

    Returns
    -------
    float
    """
    cdef Py_ssize_t n = logits.shape[0], n_classes = logits.shape[1]
    cdef _Target bound = _Target(n, n_classes, np.float32 if floating is float else np.float64, labels, distribution,
                                 sample_weight, class_weight, label_smoothing, loss, scale)
    cdef _Work work
    if row_loss is not None and row_loss.shape[0] != n:
        raise ValueError(f"row_loss has {row_loss.shape[0]} entries for {n} rows")
    if grad is not None and (grad.shape[0] != n or grad.shape[1] != n_classes):
        raise ValueError(f"grad has shape ({grad.shape[0]}, {grad.shape[1]}), not ({n}, {n_classes})")
    if n == 0:
        return 0.0
    work.kernels = kernels_of(floating is float)
    work.target = &bound.c
    work.n_rows, work.chunk_rows = n, max(1, _CHUNK_VALUES // max(1, n_classes))
    work.row_bytes = n_classes * sizeof(floating)
    work.z = <const char *> &logits[0, 0]
    work.out = <char *> &grad[0, 0] if grad is not None else NULL
    work.losses = &row_loss[0] if row_loss is not None else NULL
    return _run(_softmax_chunk, &work, n_threads, work.kernels.rows_scratch(n_classes))


def binary_loss(const floating[::1] logits, const floating[::1] y, *, const double[::1] sample_weight=None,
                Py_ssize_t run=1, const double[::1] pos_weight=None, double label_smoothing=0.0,
                loss=None, double scale=1.0, double[::1] element_loss=None, floating[::1] grad=None,
                int n_threads=1):
    """Sum of the losses of independent binary targets; writes the loss and gradient of each if given arrays for them.

    Parameters
    ----------
    logits, y : arrays (n,)
        Logit of class 1, and its target in [0, 1].
    sample_weight : float64 array (n / run,), optional
        Each weight serves `run` successive elements; elements of weight 0 are not read.
    pos_weight : float64 array, optional
        Weight of class 1, repeated along the elements.
    label_smoothing, loss, scale, element_loss, grad, n_threads
        As in `softmax_loss`.

    Returns
    -------
    float
    """
    cdef Py_ssize_t n = logits.shape[0]
    cdef xe_binary_target binary
    cdef _Work work
    if y.shape[0] != n or (element_loss is not None and element_loss.shape[0] != n) or (
            grad is not None and grad.shape[0] != n):
        raise ValueError(f"y, element_loss and grad must have {n} entries, as logits has")
    if sample_weight is not None and sample_weight.shape[0] * run != n:
        raise ValueError(f"sample_weight has {sample_weight.shape[0]} entries, each for {run} of {n} elements")
    if n == 0:
        return 0.0
    if pos_weight is not None and pos_weight.shape[0] < 1:
        raise ValueError("pos_weight is empty")
    binary.loss, binary.scale, binary.smoothing, binary.y = loss_of(loss), scale, label_smoothing, &y[0]
    binary.sample_weight, binary.run = &sample_weight[0] if sample_weight is not None else NULL, run
    binary.pos_weight, binary.period = NULL, 1
    if pos_weight is not None:
        binary.pos_weight, binary.period = &pos_weight[0], pos_weight.shape[0]
    work.kernels = kernels_of(floating is float)
    work.binary = &binary
    work.n_rows, work.chunk_rows, work.row_bytes = n, _CHUNK_VALUES, sizeof(floating)
    work.z = <const char *> &logits[0]
    work.out = <char *> &grad[0] if grad is not None else NULL
    work.losses = &element_loss[0] if element_loss is not None else NULL
    return _run(_binary_chunk, &work, n_threads)


def hessian_product(const floating[:, ::1] logits, const floating[:, ::1] v, *, bint sigmoid=False, labels=None,
                    distribution=None, sample_weight=None, class_weight=None, double label_smoothing=0.0,
                    loss=None, double scale=1.0):
    """The Hessian of each row's loss with respect to its logits, times the same row of `v`, as a new array.

    Parameters
    ----------
    logits, v : arrays (n, K), or (n, 1) where `sigmoid` is true
    sigmoid : bool, default=False
        Two classes and one column, the logit of class 1.
    labels, distribution, sample_weight, class_weight, label_smoothing, loss, scale
        As in `softmax_loss`.
    """
    cdef Py_ssize_t n = logits.shape[0], n_classes = 2 if sigmoid else logits.shape[1]
    dtype = np.float32 if floating is float else np.float64
    out = np.empty((n, logits.shape[1]), dtype=dtype)
    cdef floating[:, ::1] result = out
    cdef _Target target = _Target(n, n_classes, dtype, labels, distribution, sample_weight, class_weight,
                                  label_smoothing, loss, scale)
    if v.shape[0] != n or v.shape[1] != logits.shape[1] or (sigmoid and v.shape[1] != 1):
        raise ValueError(f"v has shape ({v.shape[0]}, {v.shape[1]}), logits ({n}, {logits.shape[1]})")
    if n == 0:
        return out
    cdef const xe_kernels *kernels = kernels_of(floating is float)
    with nogil:
        (kernels.sigmoid_hessian if sigmoid else kernels.softmax_hessian)(
            &target.c, 0, n, &logits[0, 0], &v[0, 0], &result[0, 0])
    return out


def softmax(const floating[:, ::1] logits, *, bint log=False, int n_threads=1):
    """Softmax of each row, or its logarithm, as a new array of the same shape and dtype.

    A row that holds NaN or +inf, or -inf in every class, has no distribution and gives NaN.
    """
    cdef Py_ssize_t n = logits.shape[0], n_classes = logits.shape[1]
    cdef _Work work
    out = np.empty((n, n_classes), dtype=np.float32 if floating is float else np.float64)
    cdef floating[:, ::1] result = out
    if n == 0 or n_classes == 0:
        return out
    work.kernels = kernels_of(floating is float)
    work.n_rows, work.chunk_rows = n, max(1, _CHUNK_VALUES // n_classes)
    work.n_classes, work.row_bytes = n_classes, n_classes * sizeof(floating)
    work.z, work.out = <const char *> &logits[0, 0], <char *> &result[0, 0]
    work.kind = XE_LOG_PROBABILITIES if log else XE_PROBABILITIES
    _run(_probability_chunk, &work, n_threads, work.kernels.rows_scratch(n_classes))
    return out


def encode_labels(const integer[::1] y, Py_ssize_t n_classes, ignore, sample_weight,
                  const double[::1] class_weight=None):
    """Class indices as int32, and their weight.

    Parameters
    ----------
    y : integer array (n,)
    n_classes : int
        Labels must lie in [0, n_classes), in rows that are not ignored.
    ignore : int or None
        A label that is in no class. It needs a `sample_weight`, where its rows get the weight 0.
    sample_weight : float64 array (n,) or None
        Rows of weight 0 are ignored, whatever their label. With `ignore`, it is set to 0 in rows of that label.
    class_weight : float64 array (n_classes,) or None

    Returns
    -------
    labels : int32 ndarray (n,)
        0 in ignored rows.
    mass : float
        sum_i s_i w_{y_i}
    bad : int
        The first row with a label out of range, or -1. If there is one, labels and mass are incomplete.
    """
    cdef Py_ssize_t i, n = y.shape[0], bad = -1
    cdef integer skip = 0
    cdef bint has_ignore = False, weighted = sample_weight is not None, by_class = class_weight is not None
    cdef double mass = 0.0, s
    cdef const double[::1] weights = sample_weight
    cdef double[::1] marked
    if weighted:
        _check_shape("sample_weight", sample_weight, (n,))
    if by_class and class_weight.shape[0] != n_classes:
        raise ValueError(f"class_weight has {class_weight.shape[0]} entries for {n_classes} classes")
    out = np.empty(n, dtype=np.int32)
    cdef int32_t[::1] labels = out
    if ignore is not None:
        if not weighted:
            raise ValueError("labels to ignore are marked in sample_weight")
        marked = sample_weight
        try:
            skip = ignore
            has_ignore = True
        except OverflowError:  # this dtype cannot hold it, so no label is equal to it
            pass
    with nogil:
        for i in range(n):
            labels[i] = 0
            if has_ignore and y[i] == skip:
                marked[i] = 0.0
            s = weights[i] if weighted else 1.0
            if s == 0.0:
                continue
            if <uint64_t> y[i] >= <uint64_t> n_classes:  # a negative label becomes a large one
                bad = i
                break
            labels[i] = <int32_t> y[i]
            mass = mass + (s * class_weight[labels[i]] if by_class else s)
    return out, mass, bad


def first_bad_distribution(const floating[:, ::1] y, double rtol, const double[::1] sample_weight=None):
    """Index of the first row with a negative or NaN entry, or a sum further than `rtol` from 1; -1 if there is none.

    Rows of weight 0 are not read.
    """
    cdef const xe_kernels *kernels = kernels_of(floating is float)
    cdef const double *weights = NULL
    if sample_weight is not None:
        _check_shape("sample_weight", np.asarray(sample_weight), (y.shape[0],))
        weights = &sample_weight[0] if y.shape[0] else NULL
    return kernels.bad_distribution(&y[0, 0], y.shape[0], y.shape[1], rtol, weights) if y.shape[0] else -1


def distribution_mass(const floating[:, ::1] y, const double[::1] sample_weight=None,
                      const double[::1] class_weight=None):
    """Compute sum_i s_i sum_k w_k y_ik over the rows whose weight is not 0."""
    cdef const xe_kernels *kernels = kernels_of(floating is float)
    cdef const double *s = NULL
    cdef const double *w = NULL
    if y.shape[0] == 0 or y.shape[1] == 0:
        return 0.0
    if sample_weight is not None:
        _check_shape("sample_weight", np.asarray(sample_weight), (y.shape[0],))
        s = &sample_weight[0]
    if class_weight is not None:
        _check_shape("class_weight", np.asarray(class_weight), (y.shape[1],))
        w = &class_weight[0]
    return kernels.distribution_mass(&y[0, 0], y.shape[0], y.shape[1], s, w)


def first_outside_unit(const floating[::1] y, const double[::1] sample_weight=None, Py_ssize_t run=1):
    """Index of the first entry that is not in [0, 1], NaN included; -1 if there is none.

    Each sample weight serves `run` successive entries; entries of weight 0 do not count.
    """
    cdef Py_ssize_t i, n = y.shape[0], bad = -1
    cdef bint weighted = sample_weight is not None
    cdef const xe_kernels *kernels = kernels_of(floating is float)
    with nogil:
        for i in range(kernels.in_unit_interval(&y[0], n) if n else 0, n):
            if not (y[i] >= 0.0 and y[i] <= 1.0) and not (weighted and sample_weight[i // run] == 0.0):
                bad = i
                break
    return bad
