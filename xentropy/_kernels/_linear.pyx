# cython: boundscheck=False, wraparound=False, cdivision=True
"""The data term of a linear model: sum of weighted losses over rows of dense or CSR X, and its gradient."""

import numpy as np
from cython cimport floating
from libc.stdint cimport int32_t, int64_t, uint16_t, uint64_t

from ._dispatch cimport aligned, has_slow_last_cache, kernels_of, loss_of
from ._threads cimport run_parts
from .kernels cimport (
    XE_CLASSES, XE_LOG_PROBABILITIES, XE_LOGITS, XE_PROBABILITIES, xe_kernels, xe_linear, xe_row_start, xe_tile,
)

ctypedef fused index_t:
    int32_t
    int64_t

# Rows are cut into partitions. A thread takes the next free one, and the sums of the partitions are added in their
# order: so the result does not depend on the number of threads, and a slow thread delays the rest by one partition at
# most.
cdef Py_ssize_t _MAX_PARTITIONS = 32

# A partition of its own is worth this many multiply-adds, some 150 microseconds, where reading a value counts as
# _READING of them. Waking a thread takes 50 microseconds, and if another process has its core, its part waits for a
# time slice.
cdef Py_ssize_t _MIN_WORK = 1 << 22
cdef Py_ssize_t _READING = 8

# Each partition has a gradient of its own, which is zeroed and added at the end. It is worth that if each of its
# numbers is updated this many times. With CSR rows, updates run at memory's pace, and fewer are enough; _FEW_PARTITIONS
# are worth still fewer, because they let threads share the work, although one thread alone is then a little slower.
cdef Py_ssize_t _MIN_UPDATES = 256
cdef Py_ssize_t _MIN_UPDATES_CSR = 64
cdef Py_ssize_t _MIN_UPDATES_FEW = 16
cdef Py_ssize_t _FEW_PARTITIONS = 4
cdef Py_ssize_t _PARTIAL_BYTES = 1 << 26  # the gradients of all partitions together take no more

# The rows of a block and their logits fit into _BLOCK_BYTES, and so into a core's own cache. A block reads all
# coefficients and updates their gradient once, so with many outputs it gets one more row for each _BYTES_PER_ROW of
# them.
cdef Py_ssize_t _BLOCK_BYTES = 1 << 17
cdef Py_ssize_t _BYTES_PER_ROW = 1 << 15
# The scratch of a thread, four numbers for each logit of a block, takes no more than _SCRATCH_BYTES or the coefficients
# do, if 32 rows can; and no more threads are used than _SCRATCH_BYTES_OF_ALL or eight times the coefficients, which is
# less than L-BFGS remembers, have room for.
cdef Py_ssize_t _SCRATCH_BYTES = 1 << 23
cdef Py_ssize_t _SCRATCH_BYTES_OF_ALL = 3 << 24
cdef Py_ssize_t _FEW = 24  # with more outputs than this, more rows share the reading of the coefficients

# Tiles of CSR rows pay if the coefficients and their gradient, here called the tables, take _LARGE_TABLES bytes or
# more. From _STREAMED_TABLES on, the tables are read as streams: the columns of a tile are in ascending order. Below
# that they are in the order of their lengths.
cdef Py_ssize_t _LARGE_TABLES = 1 << 20
cdef Py_ssize_t _STREAMED_TABLES = 1 << 22

# The logits of a tile stay in a cache: the larger it is, the fewer tiles read the tables. If the tables are streams, it
# is a core's share of the last cache, with _TILE_BYTES, and the long columns go part by part through logits of
# _PART_BYTES; otherwise it is the core's own cache, with _PART_BYTES. If the last cache is slow, the core's own is the
# better one in either case, with _TILE_BYTES_OWN.
cdef Py_ssize_t _TILE_BYTES = 1 << 21
cdef Py_ssize_t _PART_BYTES = 1 << 17
cdef Py_ssize_t _TILE_BYTES_OWN = 1 << 20
cdef Py_ssize_t _MAX_TILE_ROWS = 1 << 16  # the rows of a tile are numbered in 16 bits

# Threads share the packing and summing of this many coefficients or more, _SHARE features at a time.
cdef Py_ssize_t _MIN_SHARED = 1 << 16
cdef Py_ssize_t _SHARE = 64

_KINDS = {
    "logits": XE_LOGITS,
    "probabilities": XE_PROBABILITIES,
    "log_probabilities": XE_LOG_PROBABILITIES,
    "classes": XE_CLASSES,
}


cdef struct _Work:  # an evaluation, whose parts threads share
    const xe_linear *model
    const xe_kernels *kernels
    const double *coef
    const double *intercept
    unsigned char *scratch
    Py_ssize_t scratch_size  # bytes for a thread
    Py_ssize_t n_partitions
    Py_ssize_t partial_size
    double *partials
    double *sums
    double *grad_coef
    double *grad_intercept
    int kind
    Py_ssize_t chunk_rows
    unsigned char *finite  # for each chunk of rows, whether its logits are
    void *out


cdef void _pack_features(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    work.kernels.linear_pack(work.model, work.coef, work.intercept, part * _SHARE,
                             min(work.model.n_features, (part + 1) * _SHARE), <void *> work.model.packed)


cdef void _evaluate_partition(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    cdef Py_ssize_t n = work.model.n_rows
    work.sums[part] = work.kernels.linear_rows(
        work.model, n * part // work.n_partitions, n * (part + 1) // work.n_partitions,
        work.scratch + thread * work.scratch_size, work.partials + part * work.partial_size)


cdef void _combine_features(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    work.kernels.linear_combine(work.model, work.partials, work.n_partitions, part * _SHARE,
                                min(work.model.n_features, (part + 1) * _SHARE), work.grad_coef, work.grad_intercept)


cdef void _predict_chunk(void *context, Py_ssize_t part, int thread) noexcept nogil:
    cdef _Work *work = <_Work *> context
    work.finite[part] = work.kernels.linear_predict(work.model, work.kind, part * work.chunk_rows,
                                                    min(work.model.n_rows, (part + 1) * work.chunk_rows),
                                                    work.scratch + thread * work.scratch_size, work.out)


cdef class _Model:
    """X and the shape of a linear model on it, which training and prediction share."""

    cdef xe_linear model
    cdef const xe_kernels *kernels
    cdef object _keep  # the arrays that the pointers in `model` point to
    cdef object _scratch, _packed

    cdef int _bind(self, X, Py_ssize_t n_classes, bint sigmoid, str compute) except -1:
        if n_classes < 1 or (sigmoid and n_classes != 2):
            raise ValueError(f"n_classes={n_classes} does not fit sigmoid={sigmoid}")
        if compute not in ("float32", "float64"):
            raise ValueError(f"compute={compute!r} is neither 'float32' nor 'float64'")
        self.kernels = kernels_of(compute == "float32")
        self.model.n_outputs = 1 if sigmoid else n_classes
        self.model.target.n_classes = n_classes
        self._bind_X(X)
        # with few values for each feature, copying the coefficients and the gradient would take as long as the pass
        self.model.in_place = (self.model.indptr != NULL
                               and X.data.shape[0] < _MIN_UPDATES_FEW * self.model.n_features)
        return self._lay_out()

    cdef int _lay_out(self) except -1:
        # the memory of a pass with the current number of outputs
        cdef Py_ssize_t real = 4 if self.kernels.is_float else 8
        cdef Py_ssize_t d = 0 if self.model.indptr != NULL else self.model.n_features, R = self.model.n_outputs
        cdef Py_ssize_t fitting = _BLOCK_BYTES // (real * (d + 2 * R))
        # each block reads the coefficients and updates their gradient once: the larger they are, the more rows share
        # that
        cdef Py_ssize_t sharing = 8 * d * R // _BYTES_PER_ROW
        self.model.block_rows = max((512 if R > _FEW else 128) // real, min(256, fitting), min(192, sharing)) // 16 * 16
        cdef Py_ssize_t room = max(_SCRATCH_BYTES, 8 * d * R)
        self.model.block_rows = min(self.model.block_rows, max(32, room // (4 * real * R) // 32 * 32))
        self._scratch = np.empty((0, 0), dtype=np.uint8)
        self._packed = aligned(self.kernels.linear_packed(&self.model))
        self.model.packed = <void *> <size_t> self._packed.ctypes.data
        return 0

    cdef int _bind_X(self, X) except -1:
        self.model.n_rows, self.model.n_features = X.shape
        self._keep = []
        if isinstance(X, np.ndarray):
            if X.dtype == np.float32:
                self._bind_dense[float](X)
            else:
                self._bind_dense[double](X)
        else:
            indptr, indices = X.indptr, X.indices
            for name, array in (("indptr", indptr), ("indices", indices)):
                if array.dtype.kind not in "iu":
                    raise ValueError(f"X.{name} of the CSR matrix holds {array.dtype}, not integers")
            if indptr.dtype != indices.dtype or indices.dtype not in (np.int32, np.int64):
                indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
            if X.dtype == np.float32 and indices.dtype == np.int32:
                self._bind_csr[float, int32_t](X.data, indices, indptr)
            elif X.dtype == np.float32:
                self._bind_csr[float, int64_t](X.data, indices, indptr)
            elif indices.dtype == np.int32:
                self._bind_csr[double, int32_t](X.data, indices, indptr)
            else:
                self._bind_csr[double, int64_t](X.data, indices, indptr)
        return 0

    cdef Py_ssize_t _scratch_size(self) noexcept:
        """Bytes for one thread. Threads share no cache line."""
        return <Py_ssize_t> (self.kernels.linear_scratch(&self.model) // 64 + 1) * 64

    cdef int _threads_with_room(self, int n_threads) noexcept:
        cdef Py_ssize_t room = max(_SCRATCH_BYTES_OF_ALL, 64 * self.model.n_features * self.model.n_outputs)
        return max(1, min(n_threads, room // self._scratch_size()))

    cdef unsigned char[:, ::1] _scratch_of(self, int n_threads):
        if self._scratch.shape[0] < n_threads:
            size = self._scratch_size()
            self._scratch = aligned(n_threads * size).reshape(n_threads, size)
        return self._scratch

    cdef int _check(self, Py_ssize_t d, Py_ssize_t n_outputs, Py_ssize_t n_intercept) except -1:
        if d != self.model.n_features or n_outputs != self.model.n_outputs or n_intercept != n_outputs:
            raise ValueError(
                f"coefficients of shape ({d}, {n_outputs}) and intercept ({n_intercept},): the model has shapes "
                f"({self.model.n_features}, {self.model.n_outputs}) and ({self.model.n_outputs},)")
        return 0

    cdef int _begin(self, _Work *work, const double[:, ::1] coef, const double[::1] intercept,
                    int n_threads) except -1:
        cdef unsigned char[:, ::1] scratch = self._scratch_of(n_threads)
        work.model, work.kernels = &self.model, self.kernels
        work.scratch, work.scratch_size = &scratch[0, 0], scratch.shape[1]
        work.coef = self.model.coef = &coef[0, 0] if coef.shape[0] else NULL
        work.intercept = &intercept[0]
        return 0

    cdef void _pack(self, _Work *work, int n_threads) noexcept nogil:
        cdef Py_ssize_t d = self.model.n_features
        if n_threads == 1 or d * self.model.n_outputs < _MIN_SHARED:
            self.kernels.linear_pack(&self.model, work.coef, work.intercept, 0, d, <void *> self.model.packed)
        else:
            run_parts(_pack_features, work, (d + _SHARE - 1) // _SHARE, n_threads)

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
            raise ValueError(f"X.indptr of the CSR matrix ends at {last}, past its nnz of {data.shape[0]}")
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


def check_csr(X):
    """Raise a ValueError if the arrays of a CSR matrix or array do not fit its shape, or hold an index out of range.

    SciPy checks them only when it makes a matrix, and reads out of bounds if they were edited afterwards.
    """
    (<_Model> _Model())._bind_X(X)


cdef class LinearPass(_Model):
    """Sum of losses of ``X @ coef + intercept`` and its gradient, for one `X` and one target.

    Each call of `loss_gradient` reads X once, a block of rows at a time, and keeps no logits. The object owns the
    scratch memory of that pass, so it serves one caller at a time.

    Parameters
    ----------
    X : ndarray (n, d), C-ordered, or CSR matrix or array (n, d); float32 or float64
        It is not copied, except with `many_passes`. The indices of CSR are int32 or int64, and may be unsorted and
        repeated.
    n_classes : int
        K, the number of classes.
    rows : int64 ndarray (n,), optional
        Only these rows of a dense X count, in this order; n is then their number, also for the arguments below.
    labels : int32 ndarray (n,), optional
        Class indices in [0, K). Either these, or `distribution`, or `indicator`.
    distribution : ndarray (n, K), C-ordered, optional
        Target probabilities, in the dtype that `compute` names.
    indicator : ndarray (n, K), C-ordered, uint8, float32 or float64, optional
        Independent labels in the place of classes, in [0, 1]: each output has its own sigmoid. The uint8 2 and NaN
        stand for a missing label, which costs nothing. `select` chooses labels and their weights.
    sample_weight : float64 ndarray (n,), optional
        Weight of each row; a row of weight 0 is not read.
    class_weight : float64 ndarray (K,), optional
        Weight of each class.
    label_smoothing : float, default=0.0
        Share of each target that is spread evenly over the classes.
    loss : (str, tuple of floats), optional
        The name of a formula in phi.h, and its parameters; None is the cross-entropy.
    scale : float, default=1.0
        Every weight is multiplied by it.
    sigmoid : bool, default=False
        With two classes: one column of coefficients, whose logit is that of class 1.
    compute : {"float32", "float64"}, default="float64"
        The type of the multiplications. It may be wider than the dtype of X, which takes no more memory.
    shift : float64 ndarray (d,), optional
        It is subtracted from each row of a dense X as that is read, for columns with a mean far above their variance.
    many_passes : bool, default=False
        Whether to copy the values of a CSR matrix X, tile by tile of rows and in each tile column by column, if that
        pays: it does if the coefficients and their gradient do not fit into a core's own cache. The copy takes about
        the memory of X and the time of two evaluations, and does not see later changes of X.
    tile_rows : int, optional
        Make such tiles, of that many rows at most, in any case.

    Raises
    ------
    ValueError
        If shapes do not agree, or an index lies outside of its range.
    """

    cdef readonly Py_ssize_t n_partitions, n_tiles
    cdef double[::1] _partials
    cdef double[::1] _sums
    cdef object _selected  # the arrays that `select` has bound

    def __init__(self, X, Py_ssize_t n_classes, *, rows=None, labels=None, distribution=None, indicator=None,
                 sample_weight=None, class_weight=None, double label_smoothing=0.0, loss=None, double scale=1.0,
                 bint sigmoid=False, str compute="float64", shift=None,
                 bint many_passes=False, tile_rows=None):
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing={label_smoothing} is not in [0, 1]")
        if (labels is None) + (distribution is None) + (indicator is None) != 2:
            raise ValueError("pass one of labels, distribution and indicator")
        self._bind(X, n_classes, sigmoid, compute)
        if rows is not None:
            if not isinstance(X, np.ndarray):
                raise ValueError("rows are of a dense X: pass X[rows] of a CSR matrix")
            self._bind_rows(rows)
        self.model.target.smoothing = label_smoothing
        self.model.target.scale = scale
        self.model.target.loss = loss_of(loss)
        if labels is not None:
            self._bind_labels(labels)
        elif indicator is not None:
            if class_weight is not None or sigmoid:
                raise ValueError("class_weight and sigmoid are for classes: `select` takes the weights of labels")
        elif compute == "float32":
            self._bind_distribution[float](distribution)
        else:
            self._bind_distribution[double](distribution)
        if sample_weight is not None:
            self.model.target.sample_weight = self._bind_weights(sample_weight, self.model.n_rows, "sample_weight")
        if shift is not None:
            if not isinstance(X, np.ndarray):
                raise ValueError("shift is for a dense X: a shifted CSR matrix would have no zeros")
            self.model.shift = self._bind_weights(shift, self.model.n_features, "shift")
        if class_weight is not None:
            self.model.target.class_weight = self._bind_weights(class_weight, n_classes, "class_weight")

        cdef Py_ssize_t size = self.kernels.linear_partial(&self.model)
        cdef Py_ssize_t nnz = X.data.shape[0] if self.model.indptr != NULL else self.model.n_rows * X.shape[1]
        cdef Py_ssize_t updates = nnz * self.model.n_outputs // size
        cdef Py_ssize_t worth = updates // _MIN_UPDATES
        if self.model.in_place:
            worth = 1
        elif self.model.indptr != NULL:
            worth = max(updates // _MIN_UPDATES_CSR, min(_FEW_PARTITIONS, updates // _MIN_UPDATES_FEW))
        cdef Py_ssize_t most = min(_MAX_PARTITIONS, nnz * (self.model.n_outputs + _READING) // _MIN_WORK, worth,
                                   _PARTIAL_BYTES // (8 * size))
        self.n_partitions = 1
        while 2 * self.n_partitions <= most:  # a power of two, which usual numbers of threads divide
            self.n_partitions *= 2
        self._partials = aligned(8 * size * self.n_partitions).view(np.float64)
        self._sums = np.empty(self.n_partitions)
        if self.model.indptr != NULL and (many_passes or tile_rows is not None):
            self._tile(X.data.dtype, self._tile_rows() if tile_rows is None else tile_rows)
        if indicator is not None:
            self._bind_indicator(indicator)
            ones = np.ones(n_classes)
            self.select(np.arange(n_classes), ones, ones)

    def select(self, const int64_t[::1] label, const double[::1] positive, const double[::1] negative):
        """Make these columns of `indicator` the outputs, with the weights of their ones and of their zeros.

        Other columns cost nothing. The partitions stay, so that the values of a label depend on the selection at most
        in their rounding.

        Parameters
        ----------
        label : int64 array (R,), at least one
        positive, negative : float64 arrays (R,)
        """
        cdef Py_ssize_t k, R = label.shape[0]
        if self.model.indicator.y == NULL:
            raise ValueError("there are no labels to select: pass indicator")
        if R < 1 or positive.shape[0] != R or negative.shape[0] != R:
            raise ValueError(f"select takes at least one label and a weight of its ones and of its zeros, not "
                             f"{R}, {positive.shape[0]} and {negative.shape[0]}")
        for k in range(R):
            if label[k] < 0 or label[k] >= self.model.indicator.n_labels:
                raise ValueError(f"label holds {label[k]} (at {k}), outside of [0, {self.model.indicator.n_labels})")
        self._selected = (label, positive, negative)
        self.model.indicator.label = &label[0]
        self.model.indicator.positive, self.model.indicator.negative = &positive[0], &negative[0]
        self.model.n_outputs = R
        self._lay_out()
        self._partials = aligned(8 * self.kernels.linear_partial(&self.model) * self.n_partitions).view(np.float64)

    cdef Py_ssize_t _tile_rows(self) except -1:
        # the rows of a tile, or 0 if tiles do not pay
        cdef Py_ssize_t real = 4 if self.kernels.is_float else 8
        cdef Py_ssize_t size = self.kernels.linear_partial(&self.model)
        cdef Py_ssize_t stride = size if self.model.in_place else size // (self.model.n_features + 1)
        cdef Py_ssize_t tables = self.model.n_features * stride * (real + 8)
        cdef Py_ssize_t n_bytes = _TILE_BYTES
        if tables < _LARGE_TABLES or (self.kernels.gathers_fast and self.model.n_outputs == 1):
            return 0
        if has_slow_last_cache():
            n_bytes = _TILE_BYTES_OWN
        elif tables < _STREAMED_TABLES:
            self.model.tiles.by_length = True
            n_bytes = _PART_BYTES
        else:
            self.model.tiles.part_rows = _PART_BYTES // (real * stride)
        return min(n_bytes // (real * stride), _MAX_TILE_ROWS)

    cdef int _tile(self, dtype, Py_ssize_t most) except -1:
        cdef Py_ssize_t n = self.model.n_rows, d = self.model.n_features, n_partitions = self.n_partitions
        cdef Py_ssize_t q, i, n_tiles, most_values
        if not 0 <= most <= _MAX_TILE_ROWS:
            raise ValueError(f"tile_rows={most} is not in [0, {_MAX_TILE_ROWS}]")
        if most == 0 or n == 0:
            return 0
        cuts = [0]
        for q in range(n_partitions):  # a partition consists of whole tiles
            begin, end = n * q // n_partitions, n * (q + 1) // n_partitions
            n_tiles = (end - begin + most - 1) // most
            cuts += [begin + (end - begin) * i // n_tiles for i in range(1, n_tiles + 1)]
        n_tiles = len(cuts) - 1
        starts = np.array([xe_row_start(&self.model, i) for i in cuts])
        most_values = np.diff(starts).max(initial=0)
        if most_values >= 1 << 31 or d > 1 << 31:  # a tile counts in 32 bits
            return 0
        cdef int64_t[::1] first_row = np.array(cuts, dtype=np.int64), first_column = np.zeros(n_tiles + 1, np.int64)
        cdef int64_t[::1] first_value = np.zeros(n_tiles + 1, dtype=np.int64)
        cdef uint16_t[::1] row = np.empty(starts[n_tiles] + 1, dtype=np.uint16)
        cdef unsigned char[::1] x = np.empty(starts[n_tiles] + 1, dtype=dtype).view(np.uint8)
        cdef uint64_t[:, ::1] keys = np.empty((2, most_values + 1), dtype=np.uint64)
        cdef uint16_t[::1] rows = np.empty(most_values + 1, dtype=np.uint16)
        cdef int32_t[:, ::1] pairs = np.empty((2, most_values + 1), dtype=np.int32)
        cdef Py_ssize_t size = dtype.itemsize
        cdef ptrdiff_t n_columns = 0
        columns, lengths = [np.zeros(1, np.int32)], [np.zeros(1, np.int32)]
        first_column[0] = 1
        for i in range(n_tiles):
            with nogil:
                first_value[i + 1] = first_value[i] + xe_tile(
                    &self.model, first_row[i], first_row[i + 1], &keys[0, 0], &keys[1, 0], &rows[0],
                    &row[first_value[i]], &x[size * first_value[i]], &pairs[0, 0], &pairs[1, 0], &n_columns)
            columns.append(np.array(pairs[0, :n_columns]))
            lengths.append(np.array(pairs[1, :n_columns]))
            first_column[i + 1] = first_column[i] + n_columns
        cdef int32_t[::1] column = np.concatenate(columns), length = np.concatenate(lengths)
        self._keep += [first_row, first_column, first_value, row, x, column, length]
        self.n_tiles = self.model.tiles.n_tiles = n_tiles
        self.model.tiles.most_rows = np.diff(cuts).max()
        self.model.tiles.first_row = &first_row[0]
        self.model.tiles.first_column = &first_column[0]
        self.model.tiles.first_value = &first_value[0]
        self.model.tiles.column = &column[0]
        self.model.tiles.length = &length[0]
        self.model.tiles.row = &row[0]
        self.model.tiles.x = &x[0]
        return 0

    cdef int _bind_rows(self, const int64_t[::1] rows) except -1:
        cdef Py_ssize_t i
        for i in range(rows.shape[0]):
            if rows[i] < 0 or rows[i] >= self.model.n_rows:
                raise ValueError(f"rows holds {rows[i]} (at {i}), outside of [0, {self.model.n_rows})")
        self._keep.append(rows)
        self.model.n_rows = rows.shape[0]
        self.model.rows = &rows[0] if rows.shape[0] else NULL
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

    cdef int _bind_indicator(self, y) except -1:
        if y.shape != (self.model.n_rows, self.model.n_outputs):
            raise ValueError(f"indicator has shape {y.shape}, not ({self.model.n_rows}, {self.model.n_outputs})")
        if y.dtype not in (np.uint8, np.float32, np.float64) or not (y.flags.c_contiguous and y.flags.aligned):
            raise ValueError(f"indicator holds {y.dtype}: it has to be uint8, float32 or float64, in C order")
        self._keep.append(y)
        self.model.indicator.y = <const void *> <size_t> y.ctypes.data
        self.model.indicator.y_bytes = y.dtype.itemsize
        self.model.indicator.n_labels = y.shape[1]
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
        if self.model.rows != NULL:
            raise ValueError("the gradient with respect to X is of all of its rows: pass X[rows]")
        if grad_input.shape[0] != n or grad_input.shape[1] != d:
            raise ValueError(f"grad_input has shape ({grad_input.shape[0]}, {grad_input.shape[1]}), not ({n}, {d})")
        return &grad_input[0, 0] if n and d else NULL

    def loss_gradient(self, const double[:, ::1] coef, const double[::1] intercept, double[:, ::1] grad_coef,
                      double[::1] grad_intercept, int n_threads=1, row_loss=None, grad_input=None,
                      double[::1] label_loss=None):
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
        label_loss : float64 array (R,)
            Overwritten with the loss of each label, where there are labels. `row_loss` is not for them.

        Returns
        -------
        float
            The sum of the losses, of all labels where there are labels.
        """
        cdef Py_ssize_t d = self.model.n_features, n_partitions = self.n_partitions, q
        cdef _Work work
        self._check(coef.shape[0], coef.shape[1], intercept.shape[0])
        self._check(grad_coef.shape[0], grad_coef.shape[1], grad_intercept.shape[0])
        if (label_loss is None) != (self.model.indicator.y == NULL):
            raise ValueError("label_loss is for labels, and labels need it")
        if label_loss is not None:
            if row_loss is not None or label_loss.shape[0] != self.model.n_outputs:
                raise ValueError(f"labels need label_loss with {self.model.n_outputs} entries, and no row_loss")
            self.model.indicator.loss = &label_loss[0]
        n_threads = self._threads_with_room(min(n_threads, n_partitions))
        self.model.row_loss = self._bind_row_loss(row_loss)
        if self.kernels.is_float:
            self.model.grad_x = self._bind_grad_input[float](grad_input)
        else:
            self.model.grad_x = self._bind_grad_input[double](grad_input)
        self._begin(&work, coef, intercept, n_threads)
        work.n_partitions, work.partial_size = n_partitions, self._partials.shape[0] // n_partitions
        work.partials, work.sums = &self._partials[0], &self._sums[0]
        work.grad_coef = self.model.grad_coef = &grad_coef[0, 0] if d else NULL
        work.grad_intercept = &grad_intercept[0]
        with nogil:
            self._pack(&work, n_threads)
            run_parts(_evaluate_partition, &work, n_partitions, n_threads)
            if n_threads == 1 or self._partials.shape[0] < _MIN_SHARED:
                self.kernels.linear_combine(work.model, work.partials, n_partitions, 0, d, work.grad_coef,
                                            work.grad_intercept)
            else:
                run_parts(_combine_features, &work, (d + _SHARE - 1) // _SHARE, n_threads)
        cdef double total = 0.0
        for q in range(n_partitions):
            total += work.sums[q]
        if label_loss is not None:
            for q in range(label_loss.shape[0]):
                total += label_loss[q]
        return total


def linear_predict(X, const double[:, ::1] coef, const double[::1] intercept, *, Py_ssize_t n_classes,
                   str kind="probabilities", str compute="float64", int n_threads=1):
    """Logits, probabilities, their logarithms or the most probable classes of a linear model, block by block of rows.

    Parameters
    ----------
    X : ndarray (n, d), C-ordered, or CSR matrix or array (n, d); float32 or float64
    coef : float64 array (d, R)
        The coefficients, transposed: R = 1 for the sigmoid form of two classes, else K.
    intercept : float64 array (R,)
    n_classes : int
        K.
    kind : {"logits", "probabilities", "log_probabilities", "classes"}, default="probabilities"
    compute : {"float32", "float64"}, default="float64"
        The type of the multiplications, and of the result unless that is classes.
    n_threads : int, default=1

    Returns
    -------
    out : ndarray (n, K), or (n, R) of logits, or (n,) of the indices of classes
        A row whose logits hold NaN or +inf has no distribution and gives NaN. The first of equal logits counts.
    finite : bool
        Whether all logits are finite. If they are, X is finite too: a NaN or an infinity in a row shows in its logits.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind={kind!r} is none of {sorted(_KINDS)}")
    cdef _Model bound = _Model()
    bound._bind(X, n_classes, coef.shape[1] == 1 and n_classes == 2, compute)
    bound._check(coef.shape[0], coef.shape[1], intercept.shape[0])
    cdef Py_ssize_t n = bound.model.n_rows
    if kind == "classes":
        out = np.empty(n, dtype=np.intp)
    else:
        out = np.empty((n, bound.model.n_outputs if kind == "logits" else n_classes), dtype=compute)
    if n == 0:
        return out, True
    cdef _Work work
    cdef Py_ssize_t nnz = X.size if isinstance(X, np.ndarray) else X.data.shape[0], n_chunks
    work.kind, work.chunk_rows = _KINDS[kind], max(bound.model.block_rows, 256)
    work.out = <void *> <size_t> out.ctypes.data
    n_chunks = (n + work.chunk_rows - 1) // work.chunk_rows
    n_threads = min(n_threads, n_chunks, nnz * (bound.model.n_outputs + _READING) // _MIN_WORK)
    n_threads = bound._threads_with_room(n_threads)
    finite = np.empty(n_chunks, dtype=np.uint8)
    work.finite = <unsigned char *> <size_t> finite.ctypes.data
    bound._begin(&work, coef, intercept, n_threads)
    with nogil:
        bound._pack(&work, n_threads)
        run_parts(_predict_chunk, &work, n_chunks, n_threads)
    return out, bool(finite.all())
