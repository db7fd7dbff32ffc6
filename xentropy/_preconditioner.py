"""Preconditioners P = L L^T: approximate Hessians in factored form, and the change of variables x = L^T theta.

In the variables x the curvature of the objective is about one, whatever the units of the features. So the first steps
have the right length, and the length of the gradient means the same for every problem: half its square estimates how
far the objective is above its minimum (Nocedal & Wright, 2006, Numerical Optimization, sections 5.1 and 7.2).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.linalg.lapack import dpotrf

from ._kernels._triangular import TriangularFactors


class Preconditioner(Protocol):
    """What a minimisation asks for: `Diagonal`, or the compiled `TriangularFactors`. All vectors have one length, that
    of theta or of the part of it that varies."""

    def to_x(self, theta: np.ndarray) -> np.ndarray:
        """x = L^T theta."""

    def to_theta(self, x: np.ndarray) -> np.ndarray:
        """theta = L^-T x."""

    def to_gradient(self, grad: np.ndarray) -> np.ndarray:
        """L^-1 grad: the gradient with respect to x, given that with respect to theta."""


class Diagonal:
    """A diagonal preconditioner.

    Parameters
    ----------
    diagonal : float64 ndarray of shape (m,)
        The diagonal of P. theta is read as (m, r), and every column is scaled alike.
    """

    def __init__(self, diagonal: np.ndarray) -> None:
        self._scale = np.sqrt(diagonal)[:, None]
        self._inverse = 1.0 / self._scale

    def to_x(self, theta: np.ndarray) -> np.ndarray:
        return (theta.reshape(len(self._scale), -1) * self._scale).ravel()

    def to_theta(self, x: np.ndarray) -> np.ndarray:
        return (x.reshape(len(self._scale), -1) * self._inverse).ravel()

    to_gradient = to_theta

    def solve(self, grad: np.ndarray, out: np.ndarray) -> None:
        """P^-1 grad into `out`."""
        rows = out.reshape(len(self._scale), -1)
        np.multiply(grad.reshape(rows.shape), self._inverse, out=rows)
        rows *= self._inverse  # twice: its square may overflow


def factored(hessian: np.ndarray, n_columns: int = 1) -> TriangularFactors | Diagonal:
    """The preconditioner of a matrix (m, m), C-ordered, of which the entries on and above the diagonal are read, and
    which is overwritten. theta is read as (m, n_columns), and every column is changed alike.

    The diagonal stands in where the matrix is not positive definite."""
    diagonal, factor = hessian.diagonal().copy(), _cholesky(hessian)
    return Diagonal(diagonal) if factor is None else TriangularFactors.from_factors([factor], n_columns=n_columns)


def factored_by_class(hessians: np.ndarray) -> TriangularFactors:
    """The preconditioner that changes each column of theta (m, K) by its own of K matrices (m, m); see `factored`.

    What all classes have in common is taken out of theta: factors that differ would add a shift common to all classes,
    which only the weak penalty removes."""
    factors = TriangularFactors(len(hessians), hessians.shape[1], n_columns=len(hessians))
    for k, hessian in enumerate(hessians):
        set_factor(factors, k, hessian)
    return factors


def set_factor(factors: TriangularFactors, k: int, hessian: np.ndarray) -> None:
    """Factor the matrix of one class, which is overwritten, and store it. Several threads may do so at once."""
    diagonal, factor = hessian.diagonal().copy(), _cholesky(hessian)
    factors.set(k, np.diag(np.sqrt(diagonal)) if factor is None else factor)


def _cholesky(matrix: np.ndarray) -> np.ndarray | None:
    """The lower factor, in the memory of the matrix; None if it is not positive definite."""
    factor, failed = dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    return None if failed else factor
