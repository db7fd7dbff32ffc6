# cython: boundscheck=False, wraparound=False, cdivision=True
"""Triangular factors of preconditioners, stored without their zeros."""

import numpy as np
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

from ._dispatch cimport aligned, kernels_of
from .kernels cimport XE_TO_GRADIENT, XE_TO_THETA, XE_TO_X, xe_kernels

cdef enum:
    _LINE = 64  # bytes of a cache line
    _LONG = 1 << 20  # multiplications, some 100 microseconds: other Python threads run meanwhile


cdef class TriangularFactors:
    """Lower triangular factors L of preconditioners P = L L^T, and x = L^T theta.

    Vectors are read as (m, n_columns), C-ordered. One factor serves every column; or there is one for each column, a
    class, and then `to_theta` leaves out what all classes have in common.

    Methods may be called from several threads at once, as each call has its own scratch. So may `set` for different k.

    Parameters
    ----------
    n_factors : int
        1, or the number of columns.
    m : int
        Rows and columns of a factor, 1 or more.
    n_columns : int, optional
        The number of factors by default.
    precision : {"float64", "float32"}, default="float64"
        What the factors are stored in. The scales of their rows and columns, and the arithmetic, are in float64.

    Attributes
    ----------
    n_factors, m, n_columns : int
    precision : str
    n_bytes : int
        How much memory the factors take.
    """

    cdef readonly Py_ssize_t n_factors
    cdef readonly Py_ssize_t m
    cdef readonly Py_ssize_t n_columns
    cdef readonly str precision
    cdef readonly Py_ssize_t n_bytes
    cdef const xe_kernels *_kernels
    cdef Py_ssize_t _size  # bytes of a packed factor
    cdef unsigned char[::1] _packed
    cdef unsigned char[::1] _is_set
    cdef bint _is_complete

    def __cinit__(self, Py_ssize_t n_factors, Py_ssize_t m, *, n_columns=None, str precision="float64"):
        if n_factors < 1 or m < 1:
            raise ValueError(f"n_factors={n_factors} and m={m} must be 1 or more")
        self.n_columns = n_factors if n_columns is None else n_columns
        if self.n_columns < 1 or (n_factors > 1 and self.n_columns != n_factors):
            raise ValueError(
                f"n_columns={n_columns} with n_factors={n_factors}: there is one factor, or one for each column")
        if precision not in ("float32", "float64"):
            raise ValueError(f"precision={precision!r} must be 'float32' or 'float64'")
        self.n_factors, self.m, self.precision = n_factors, m, precision
        self._kernels = kernels_of(precision == "float32")
        self._size = <Py_ssize_t> self._kernels.triangular_packed(m)
        self.n_bytes = n_factors * self._size
        self._packed = aligned(self.n_bytes)
        self._is_set = np.zeros(n_factors, dtype=np.uint8)

    @classmethod
    def from_factors(cls, factors, *, n_columns=None, str precision="float64"):
        """Store some factors.

        Parameters
        ----------
        factors : array-like of shape (n_factors, m, m), or a list of ndarrays (m, m)
            What is above their diagonals is not read.
        n_columns : int, optional
            The number of factors by default.
        precision : {"float64", "float32"}, default="float64"

        Returns
        -------
        TriangularFactors
        """
        first = np.shape(factors[0]) if len(factors) else ()
        if len(first) != 2:
            raise ValueError(f"factors must be some matrices (m, m), not {len(factors)} arrays of shape {first}")
        stored = cls(len(factors), first[0], n_columns=n_columns, precision=precision)
        for k, factor in enumerate(factors):
            stored.set(k, factor)
        return stored

    def set(self, Py_ssize_t k, factor):
        """Store the k-th factor; other Python threads run meanwhile.

        Parameters
        ----------
        k : int
        factor : float64 ndarray (m, m)
            Its diagonal is not zero. What is above the diagonal is not read.
        """
        cdef const double[:, :] entries
        if not 0 <= k < self.n_factors:
            raise ValueError(f"k={k} must be one of the {self.n_factors} factors, counted from 0")
        factor = _real(factor, "factor")
        if factor.shape != (self.m, self.m):
            raise ValueError(f"factor has shape {factor.shape}: it must be ({self.m}, {self.m})")
        if factor.strides[0] % 8 or factor.strides[1] % 8:  # a field of a structured array
            factor = np.ascontiguousarray(factor)
        entries = factor
        with nogil:
            self._kernels.triangular_pack(&entries[0, 0], entries.strides[0] // 8, entries.strides[1] // 8, self.m,
                                          &self._packed[k * self._size])
        self._is_set[k] = True

    def to_x(self, theta):
        """L^T theta.

        Parameters
        ----------
        theta : float64 ndarray (m * n_columns,)

        Returns
        -------
        float64 ndarray (m * n_columns,)
        """
        return self._applied(XE_TO_X, theta)

    def to_theta(self, x):
        """L^-T x; with a factor for each class, less what all classes have in common, their mean.

        Factors that differ would add a shift common to all classes, which only the weak penalty removes.

        Parameters
        ----------
        x : float64 ndarray (m * n_columns,)

        Returns
        -------
        float64 ndarray (m * n_columns,)
        """
        return self._applied(XE_TO_THETA, x)

    def to_gradient(self, grad):
        """L^-1 grad, the gradient with respect to x of the gradient with respect to theta.

        With a factor for each class, the gradient must sum to zero over the classes.

        Parameters
        ----------
        grad : float64 ndarray (m * n_columns,)

        Returns
        -------
        float64 ndarray (m * n_columns,)
        """
        return self._applied(XE_TO_GRADIENT, grad)

    cdef object _applied(self, int kind, object vector):
        cdef const double[::1] x
        cdef double[::1] out_view
        cdef Py_ssize_t n = self.m * self.n_columns
        cdef char *scratch
        cdef char *line
        if not self._is_complete:
            self._check_complete()
        try:
            x = vector
        except (TypeError, ValueError):  # of another dtype, or not contiguous: such vectors are converted
            vector = _real(vector, "vector")
            if vector.ndim != 1:
                raise ValueError(f"vector has shape {vector.shape}: it must be ({n},)") from None
            x = np.ascontiguousarray(vector)
        if x.shape[0] != n:
            raise ValueError(f"vector has shape ({x.shape[0]},): it must be ({n},), {self.m} rows of {self.n_columns}")
        out = np.empty(n)
        out_view = out
        scratch = <char *> malloc(self._kernels.triangular_scratch(self.m) + _LINE)
        if scratch == NULL:
            raise MemoryError
        line = scratch + (-<uintptr_t> scratch) % _LINE
        if self.m * n < _LONG:
            self._kernels.triangular_apply(kind, &self._packed[0], self.n_factors, self.m, self.n_columns, &x[0],
                                           line, &out_view[0])
        else:
            with nogil:
                self._kernels.triangular_apply(kind, &self._packed[0], self.n_factors, self.m, self.n_columns, &x[0],
                                               line, &out_view[0])
        free(scratch)
        return out

    cdef int _check_complete(self) except -1:
        cdef Py_ssize_t k
        for k in range(self.n_factors):
            if not self._is_set[k]:
                raise ValueError(f"factor {k} of {self.n_factors} was not set")
        self._is_complete = True
        return 0


cdef object _real(object values, str name):
    # as float64
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {values.dtype}: it must be real")
    return values.astype(np.float64, copy=False)
