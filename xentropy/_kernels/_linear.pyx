# cython: boundscheck=False, wraparound=False, cdivision=True
"""The data term of a linear model: sum of weighted losses over rows of dense or CSR X, and its gradient."""

import numpy as np
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t

from .kernels cimport xe_kernels, xe_kernels_double, xe_kernels_float, xe_linear, xe_linear_combine

ctypedef fused index_t:
    int32_t
    int64_t

# Rows are cut into partitions, a thread takes the next free one, and the partitions' sums are added in their order: so
# the result does not depend on the number of threads, and one slow thread delays the rest by one partition at most.
_MAX_PARTITIONS = 32
_MIN_WORK = 1 << 15  # multiply-adds that are worth a partition of their own
_PARTIAL_BYTES = 1 << 25  # of all partitions' gradients together
_BLOCK_VALUES = 1 << 14  # values of X and logits in a block of rows: it stays in a core's own cache


cdef class LinearPass:
    """Sum of losses of ``X @ coef + intercept`` and its gradient, for one `X` and one target.

    Each call of `loss_gradient` reads X once, a block of rows at a time; no logits are kept. The object owns the
    scratch of that pass, so it serves one caller at a time.

    Parameters
    ----------
    X : ndarray (n, d), C-ordered, or CSR matrix or array (n, d); float32 or float64
        Never copied. CSR with int32 or int64 indices, which may be unsorted and repeated.
    n_classes : int
        K, the number of classes.
    labels : int32 ndarray (n,), optional
        Class indices in [0, K). Either these or `distribution`.
    distribution : ndarray (n, K), C-ordered, optional
        Target probabilities, in the dtype that `compute` names.
    sample_weight : float64 ndarray (n,), optional
        Weight of each row; a row of weight 0 is not looked at.
    class_weight : float64 ndarray (K,), optional
        Weight of each class.
    label_smoothing : float, default=0.0
        Share of each target that is spread evenly over the classes.
    loss : (int, float, float), default=(0, 0.0, 0.0)
        Kind and parameters of the loss; the default is the cross-entropy.
    scale : float, default=1.0
        Every weight is multiplied by it.
    sigmoid : bool, default=False
        With two classes: one column of coefficients, whose logit is that of class 1.
    compute : {"float32", "float64"}, default="float64"
        The type of the multiplications. It may be wider than that of X, at no cost in memory.
    shift : float64 ndarray (d,), optional
        Subtracted from each row of a dense X as it is read: for columns whose mean is large against their spread.

    Raises
    ------
    ValueError
        If shapes do not agree, or an index lies outside of its range.
    """

    cdef xe_linear model
    cdef const xe_kernels *kernels
    cdef readonly Py_ssize_t n_partitions
    cdef object _keep  # whatever the pointers in `model` point to
    cdef double[:, ::1] _partials
    cdef double[::1] _sums
    cdef object _scratch, _coef, _intercept

    def __init__(self, X, Py_ssize_t n_classes, *, labels=None, distribution=None, sample_weight=None,
                 class_weight=None, double label_smoothing=0.0, loss=(0, 0.0, 0.0), double scale=1.0,
                 bint sigmoid=False, str compute="float64", shift=None):
        cdef Py_ssize_t n, d, n_outputs = 1 if sigmoid else n_classes, stored
        if n_classes < 1 or (sigmoid and n_classes != 2):
            raise ValueError(f"n_classes={n_classes} does not fit sigmoid={sigmoid}")
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing={label_smoothing} is not in [0, 1]")
        if compute not in ("float32", "float64"):
            raise ValueError(f"compute={compute!r} is neither 'float32' nor 'float64'")
        n, d = X.shape
        self.kernels = &xe_kernels_float if compute == "float32" else &xe_kernels_double
        self.model.n_rows, self.model.n_features, self.model.n_outputs = n, d, n_outputs
        self.model.target.n_classes = n_classes
        self.model.target.smoothing = label_smoothing
        self.model.target.scale = scale
        self.model.target.loss.kind, self.model.target.loss.param[0], self.model.target.loss.param[1] = loss
        self._keep = []

        if isinstance(X, np.ndarray):
            stored = n * d
            if X.dtype == np.float32:
                self._bind_dense[float](X)
            else:
                self._bind_dense[double](X)
        else:
            stored = X.data.shape[0]
            indptr, indices = X.indptr, X.indices
            if indptr.dtype != indices.dtype:
                indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
            if X.dtype == np.float32 and indices.dtype == np.int32:
                self._bind_csr[float, int32_t](X.data, indices, indptr)
            elif X.dtype == np.float32:
                self._bind_csr[float, int64_t](X.data, indices, indptr)
            elif indices.dtype == np.int32:
                self._bind_csr[double, int32_t](X.data, indices, indptr)
            else:
                self._bind_csr[double, int64_t](X.data, indices, indptr)

        if (labels is None) == (distribution is None):
            raise ValueError("pass either labels or distribution")
        if labels is not None:
            self._bind_labels(labels)
        elif compute == "float32":
            self._bind_distribution[float](distribution)
        else:
            self._bind_distribution[double](distribution)
        if sample_weight is not None:
            self.model.target.sample_weight = self._bind_weights(sample_weight, n, "sample_weight")
        if shift is not None:
            if not isinstance(X, np.ndarray):
                raise ValueError("shift is for a dense X: a shifted CSR matrix would have no zeros")
            self.model.shift = self._bind_weights(shift, d, "shift")
        if class_weight is not None:
            self.model.target.class_weight = self._bind_weights(class_weight, n_classes, "class_weight")

        cdef Py_ssize_t size = n_outputs * (d + 1)
        self.model.block_rows = max(4, min(256, _BLOCK_VALUES // (d + 2 * n_outputs)))
        self.n_partitions = max(1, min(_MAX_PARTITIONS, n, stored * n_outputs // _MIN_WORK,
                                       _PARTIAL_BYTES // (8 * size)))
        self._partials = np.empty((self.n_partitions, size))
        self._sums = np.empty(self.n_partitions)
        self._scratch = np.empty((0, 0), dtype=np.uint8)
        self._coef = np.empty((d, n_outputs), dtype=compute)
        self._intercept = np.empty(n_outputs, dtype=compute)
        self.model.coef = <void *> <size_t> self._coef.ctypes.data
        self.model.intercept = <void *> <size_t> self._intercept.ctypes.data

    cdef int _bind_dense(self, const floating[:, ::1] X) except -1:
        self._keep.append(X)
        self.model.x_is_float = floating is float
        self.model.x = &X[0, 0] if X.shape[0] and X.shape[1] else NULL
        return 0

    cdef int _bind_csr(self, const floating[::1] data, const index_t[::1] indices,
                       const index_t[::1] indptr) except -1:
        cdef Py_ssize_t i, n = self.model.n_rows, d = self.model.n_features
        cdef index_t last = 0
        if indptr.shape[0] != n + 1 or indices.shape[0] != data.shape[0]:
            raise ValueError("X.indptr, X.indices and X.data of the CSR matrix do not fit its shape")
        for i in range(n + 1):
            if indptr[i] < last or (i == 0 and indptr[0] != 0):
                raise ValueError(f"X.indptr of the CSR matrix decreases at row {i}")
            last = indptr[i]
        if last > data.shape[0]:
            raise ValueError(f"X.indptr of the CSR matrix ends at {last}, past its {data.shape[0]} stored values")
        for i in range(last):
            if indices[i] < 0 or indices[i] >= d:
                raise ValueError(f"X.indices of the CSR matrix holds column {indices[i]}, outside of [0, {d})")
        self._keep += [data, indices, indptr]
        self.model.x_is_float = floating is float
        self.model.indices_are_64 = index_t is int64_t
        self.model.x = &data[0] if data.shape[0] else NULL
        self.model.indices = &indices[0] if data.shape[0] else NULL
        self.model.indptr = &indptr[0]
        return 0

    cdef int _bind_labels(self, const int32_t[::1] labels) except -1:
        cdef Py_ssize_t i
        if labels.shape[0] != self.model.n_rows:
            raise ValueError(f"labels has {labels.shape[0]} entries for {self.model.n_rows} rows of X")
        for i in range(labels.shape[0]):
            if labels[i] < 0 or labels[i] >= self.model.target.n_classes:
                raise ValueError(f"labels holds {labels[i]} (row {i}), outside of [0, {self.model.target.n_classes})")
        self._keep.append(labels)
        self.model.target.labels = &labels[0] if labels.shape[0] else NULL
        return 0

    cdef int _bind_distribution(self, const floating[:, ::1] y) except -1:
        if y.shape[0] != self.model.n_rows or y.shape[1] != self.model.target.n_classes:
            raise ValueError(f"distribution has shape ({y.shape[0]}, {y.shape[1]}), not "
                             f"({self.model.n_rows}, {self.model.target.n_classes})")
        self._keep.append(y)
        self.model.target.distribution = &y[0, 0] if y.shape[0] else NULL
        return 0

    cdef const double *_bind_weights(self, const double[::1] weights, Py_ssize_t n, str name) except? NULL:
        if weights.shape[0] != n:
            raise ValueError(f"{name} has {weights.shape[0]} entries, not {n}")
        self._keep.append(weights)
        return &weights[0] if n else NULL

    cdef double *_bind_row_loss(self, double[::1] row_loss) except? NULL:
        if row_loss is None:
            return NULL
        if row_loss.shape[0] != self.model.n_rows:
            raise ValueError(f"row_loss has {row_loss.shape[0]} entries for {self.model.n_rows} rows of X")
        return &row_loss[0] if self.model.n_rows else NULL

    cdef void *_bind_grad_input(self, floating[:, ::1] grad_input) except? NULL:
        cdef Py_ssize_t n = self.model.n_rows, d = self.model.n_features
        if grad_input is None:
            return NULL
        if self.model.indptr != NULL:
            raise ValueError("the gradient with respect to a CSR matrix X is dense: pass dense X")
        if grad_input.shape[0] != n or grad_input.shape[1] != d:
            raise ValueError(f"grad_input has shape ({grad_input.shape[0]}, {grad_input.shape[1]}), not ({n}, {d})")
        return &grad_input[0, 0] if n and d else NULL

    def loss_gradient(self, const double[:, ::1] coef, const double[::1] intercept, double[:, ::1] grad_coef,
                      double[::1] grad_intercept, int n_threads=1, row_loss=None, grad_input=None):
        """Sum of the losses; its gradient is written to `grad_coef` and `grad_intercept`.

        Parameters
        ----------
        coef : float64 array (d, R)
            The coefficients, transposed: R = 1 for the sigmoid form, else K.
        intercept : float64 array (R,)
        grad_coef, grad_intercept : float64 arrays of the same shapes
            Overwritten.
        n_threads : int, default=1
            The result is the same, bit for bit, for any number.
        row_loss : float64 array (n,), optional
            Overwritten with the loss of each row.
        grad_input : array (n, d), C-ordered, in the dtype that `compute` names, optional
            Overwritten with the gradient with respect to X, which must be dense.

        Returns
        -------
        float
        """
        cdef Py_ssize_t n = self.model.n_rows, d = self.model.n_features, n_outputs = self.model.n_outputs
        cdef Py_ssize_t q, n_partitions = self.n_partitions
        cdef const xe_linear *model = &self.model
        cdef const xe_kernels *kernels = self.kernels
        if (coef.shape[0] != d or grad_coef.shape[0] != d or coef.shape[1] != n_outputs
                or grad_coef.shape[1] != n_outputs or intercept.shape[0] != n_outputs
                or grad_intercept.shape[0] != n_outputs):
            raise ValueError(f"coef and its gradient must have shape ({d}, {n_outputs}), the intercept and its "
                             f"gradient ({n_outputs},)")
        n_threads = max(1, min(n_threads, n_partitions))
        if self._scratch.shape[0] < n_threads:
            # whole cache lines, so that threads share none
            self._scratch = np.empty((n_threads, (kernels.linear_scratch(model) // 64 + 1) * 64), dtype=np.uint8)
        cdef unsigned char[:, ::1] scratch = self._scratch
        cdef double[:, ::1] partials = self._partials
        cdef double[::1] sums = self._sums
        self.model.row_loss = self._bind_row_loss(row_loss)
        if kernels == &xe_kernels_float:
            self.model.grad_x = self._bind_grad_input[float](grad_input)
        else:
            self.model.grad_x = self._bind_grad_input[double](grad_input)
        with nogil:
            if d:
                kernels.narrow(&coef[0, 0], d * n_outputs, <void *> model.coef)
            kernels.narrow(&intercept[0], n_outputs, <void *> model.intercept)
            for q in prange(n_partitions, num_threads=n_threads, schedule="dynamic", chunksize=1):
                sums[q] = kernels.linear_rows(model, n * q // n_partitions, n * (q + 1) // n_partitions,
                                              &scratch[threadid(), 0], &partials[q, 0])
            xe_linear_combine(model, &partials[0, 0], n_partitions, &grad_coef[0, 0] if d else NULL,
                              &grad_intercept[0])
        cdef double total = 0.0
        for q in range(n_partitions):
            total += sums[q]
        return total
