"""Variables in which a minimisation is easy: v = L^T theta, with L L^T an approximate curvature of the objective.

In them the curvature is about the identity, whatever the units of the features, so the first steps are of the right
length and the length of the gradient means the same for every problem: half its square estimates how far the objective
is above its minimum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg.blas import dtpmv, dtpsv, dtrsm, dtrsv
from scipy.linalg.lapack import dpotrf, dtrtri, dtrttp


class Variables:
    """The change of variables of a factor of the curvature.

    Parameters
    ----------
    factor : float64 ndarray of shape (m,) or (m, m)
        L: its diagonal, or lower triangular and Fortran-ordered. theta is read as (m, r), and every column is changed
        alike: r is 1 where L couples all of theta.
    """

    def __init__(self, factor: np.ndarray) -> None:
        self.factor = factor
        self.is_diagonal = factor.ndim == 1
        if self.is_diagonal:
            self._inverse = 1.0 / factor

    @classmethod
    def of_curvature(cls, curvature: np.ndarray) -> Variables:
        """From a curvature (m, m), C-ordered, of which the entries on and above the diagonal are read, and which is
        overwritten. Where it is not positive definite, its diagonal stands in."""
        diagonal = np.sqrt(curvature.diagonal())
        factor, failed = dpotrf(curvature.T, lower=1, clean=1, overwrite_a=1)
        return cls(diagonal if failed else factor)

    @property
    def inflation(self) -> float:
        """How much longer rounding errors of a gradient become in these variables than in those of the diagonal: the
        largest root of a variance inflation factor, 1 / (1 - R^2) of one entry of theta on those before it."""
        return 1.0 if self.is_diagonal else _inflation(self.factor)

    def theta(self, v: np.ndarray) -> np.ndarray:
        """theta = L^-T v."""
        return self._solve(v, transposed=True)

    def v(self, theta: np.ndarray) -> np.ndarray:
        """v = L^T theta."""
        rows = theta.reshape(len(self.factor), -1)
        return (self.factor[:, None] * rows if self.is_diagonal else self.factor.T @ rows).ravel()

    def gradient(self, grad: np.ndarray) -> np.ndarray:
        """Gradient with respect to v of the gradient with respect to theta: L^-1 grad."""
        return self._solve(grad, transposed=False)

    def descent(self, grad: np.ndarray, out: np.ndarray) -> None:
        """(L L^T)^-1 grad, into `out`: the change of theta along the gradient with respect to v."""
        if self.is_diagonal:
            rows = out.reshape(len(self.factor), -1)
            np.multiply(grad.reshape(rows.shape), self._inverse[:, None], out=rows)
            rows *= self._inverse[:, None]  # twice: its square may overflow
        else:
            out[:] = self.theta(self.gradient(grad))

    def _solve(self, x: np.ndarray, *, transposed: bool) -> np.ndarray:
        m = len(self.factor)
        if self.is_diagonal:
            return (x.reshape(m, -1) * self._inverse[:, None]).ravel()
        if len(x) == m:
            return dtrsv(self.factor, x, lower=1, trans=int(transposed))
        # (m, r) in C order is (r, m) in Fortran's: x^T L^-1 is the transpose of L^-T x
        return dtrsm(1.0, self.factor, x.reshape(m, -1).T, side=1, lower=1, trans_a=int(not transposed)).T.ravel()


class ClassVariables:
    """The change of variables of one factor for each class.

    Parameters
    ----------
    curvatures : float64 ndarray of shape (K, m, m), C-ordered
        One for each column of theta, which is read as (m, K). Entries on and above the diagonals are read; they are
        overwritten.
    """

    is_diagonal = False

    def __init__(self, curvatures: np.ndarray) -> None:
        self._factors = np.array([_factor(curvature) for curvature in curvatures])
        self._inverses = np.array([dtrtri(factor, lower=1)[0] for factor in self._factors])

    @property
    def inflation(self) -> float:
        """The largest of a class."""
        return max(_inflation(factor) for factor in self._factors)

    def theta(self, v: np.ndarray) -> np.ndarray:
        """theta = L^-T v, class by class, less what all classes have in common: unlike factors would bring it in, where
        nothing but a weak penalty drives it out again."""
        theta = self._solved(v, transposed=True)
        theta -= theta.sum(axis=1, keepdims=True) * (1.0 / theta.shape[1])
        return theta.ravel()

    def v(self, theta: np.ndarray) -> np.ndarray:
        """v = L^T theta."""
        return _times(self._factors.transpose(0, 2, 1), theta).ravel()

    def gradient(self, grad: np.ndarray) -> np.ndarray:
        """L^-1 grad, for a gradient that sums to zero over the classes."""
        return self._solved(grad, transposed=False).ravel()

    def descent(self, grad: np.ndarray, out: np.ndarray) -> None:
        """(L L^T)^-1 grad, into `out`."""
        out[:] = self.theta(self.gradient(grad))

    def _solved(self, x: np.ndarray, *, transposed: bool) -> np.ndarray:
        """(m, K), as a new array."""
        return _times(self._inverses.transpose(0, 2, 1) if transposed else self._inverses, x)


class PackedFactor:
    """The factor of a curvature, of which only the triangle is kept, in float32: L of that whose diagonal is one.

    Parameters
    ----------
    curvature : float64 ndarray of shape (m, m), C-ordered
        Entries on and above the diagonal are read; it is overwritten.
    """

    def __init__(self, curvature: np.ndarray) -> None:
        self.unit = np.sqrt(curvature.diagonal())
        curvature /= self.unit
        curvature /= self.unit[:, None]
        factor = _factor(curvature)
        self.inflation = _inflation(factor)
        self.packed = dtrttp(factor, uplo="L")[0].astype(np.float32)


class PackedClassVariables(ClassVariables):
    """The same of large factors. Seven digits are exact enough for variables; what is computed with them is in float64.

    Parameters
    ----------
    factors : list of PackedFactor
        One for each class.
    """

    def __init__(self, factors: list[PackedFactor]) -> None:
        self._packed = factors
        self._units = np.array([factor.unit for factor in factors]).T

    @property
    def inflation(self) -> float:
        return max(factor.inflation for factor in self._packed)

    def v(self, theta: np.ndarray) -> np.ndarray:
        return self._by_class(dtpmv, theta.reshape(self._units.shape) * self._units, transposed=True).ravel()

    def _solved(self, x: np.ndarray, *, transposed: bool) -> np.ndarray:
        x = x.reshape(self._units.shape)
        if transposed:
            return self._by_class(dtpsv, x, transposed=True) / self._units
        return self._by_class(dtpsv, x / self._units, transposed=False)

    def _by_class(self, blas: Callable[..., np.ndarray], x: np.ndarray, *, transposed: bool) -> np.ndarray:
        columns = x.T.copy()
        for column, factor in zip(columns, self._packed, strict=True):
            packed = factor.packed.astype(np.float64)
            column[:] = blas(len(column), packed, column, lower=1, trans=int(transposed))
        return columns.T.copy()


def _factor(curvature: np.ndarray) -> np.ndarray:
    factor = Variables.of_curvature(curvature).factor
    return np.diag(factor) if factor.ndim == 1 else factor


def _times(matrices: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The product of each with a column of x, which is read as (m, K)."""
    columns = np.ascontiguousarray(x.reshape(-1, len(matrices)).T)
    return np.ascontiguousarray(np.matmul(matrices, columns[:, :, None])[:, :, 0].T)


def _inflation(factor: np.ndarray) -> float:
    return float(np.max(np.linalg.norm(factor, axis=1) / factor.diagonal()))
