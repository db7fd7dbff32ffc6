"""Preconditioners P = L L^T: approximate Hessians in factored form, and the change of variables x = L^T theta.

In the variables x the curvature of the objective is about one, whatever the units of the features. So the first steps
have the right length, and the length of the gradient means the same for every problem: half its square estimates how
far the objective is above its minimum (Nocedal & Wright, 2006, Numerical Optimization, sections 5.1 and 7.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from scipy.linalg.lapack import dpotrf

from ._kernels._triangular import TriangularFactors


class Preconditioner(Protocol):
    """What a minimisation asks for: `Diagonal`, or the compiled `TriangularFactors`. All vectors have the length of
    theta."""

    def to_x(self, theta: np.ndarray) -> np.ndarray:
        """x = L^T theta."""

    def to_theta(self, x: np.ndarray) -> np.ndarray:
        """theta = L^-T x."""

    def to_gradient(self, grad: np.ndarray) -> np.ndarray:
        """The gradient with respect to x of the gradient with respect to theta: L^-1 grad."""


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
    diagonal = hessian.diagonal().copy()
    factor, failed = dpotrf(hessian.T, lower=1, clean=0, overwrite_a=1)
    if failed:
        return Diagonal(diagonal)
    return TriangularFactors.from_factors([factor], n_columns=n_columns)


def factored_by_class(hessians: Iterable[np.ndarray], n_classes: int, m: int) -> TriangularFactors:
    """The preconditioner that changes each column of theta (m, K) by a matrix of its own; see `factored`.

    What all classes have in common is taken out of theta: factors that differ would bring it in, and nothing but a weak
    penalty would drive it out again."""
    factors = TriangularFactors(n_classes, m, n_columns=n_classes)
    for k, hessian in enumerate(hessians):
        set_factor(factors, k, hessian)
    return factors


def set_factor(factors: TriangularFactors, k: int, hessian: np.ndarray) -> None:
    """Factor the matrix of one class, which is overwritten, and store it. Several threads may do so at once."""
    diagonal = hessian.diagonal().copy()
    factor, failed = dpotrf(hessian.T, lower=1, clean=0, overwrite_a=1)
    factors.set(k, np.diag(np.sqrt(diagonal)) if failed else factor)
