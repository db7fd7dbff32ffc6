"""L-BFGS with very many variables, in the span of its first gradients."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import Bounds

from ._preconditioner import Diagonal, Preconditioner

# With this many variables a step takes SciPy longer than an evaluation, so it starts in the span of N_AXES gradients.
# (text; 2.3e6 variables, 15 iterations: 1.8 s and 640 MB without, 0.9 s and 430 MB with it.)
MANY_VARIABLES, N_AXES = 200_000, 20
# A gradient makes a new axis if this share of its square lies outside of the span: less would soon drown in rounding.
_NEW_SHARE = 1e-2


class GradientSubspace:
    """x are coordinates in the span of the first gradients, in which L-BFGS stays anyway (Gill & Leonard, 2003, SIAM J.
    Optim. 14(2), 380-401, for reduced-Hessian methods).

    The axes are P^-1 g of the gradients g, for the preconditioner P = L L^T. The coordinates belong to an orthonormal
    basis of their span in the variables L^T theta, which comes from the Cholesky factor of the axes' products. So the
    axes stay as they are, and each evaluation reads them twice: for the coordinates of the gradient, and for theta. An
    axis whose coordinate is not zero was the gradient where a line search ended, and stays; the next gradient takes the
    place of any other.

    Parameters
    ----------
    preconditioner : Preconditioner
    n_axes : int
        The most axes. What they do not span of a gradient cannot be followed.
    """

    bounds: Bounds | None = None

    def __init__(self, preconditioner: Preconditioner, n_axes: int) -> None:
        self.preconditioner, self._max_axes = preconditioner, n_axes

    def start(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        self._origin, self._axes = theta, np.empty((self._max_axes + 1, len(theta)))
        self._factor = np.zeros((self._max_axes, self._max_axes))
        self._n_axes, self._is_new = 0, False
        return np.zeros(self._max_axes)

    def to_theta(self, x: np.ndarray) -> np.ndarray:
        if self._is_new and x[self._n_axes] != 0.0:
            self._n_axes, self._is_new = self._n_axes + 1, False
        n = self._n_axes
        theta = self._solve(x[:n], transposed=True) @ self._axes[:n]
        theta += self._origin
        return theta

    def to_gradient(self, grad: np.ndarray) -> np.ndarray:
        n = self._n_axes
        x = self._coordinates(grad, n, self._axes[n])
        rest = self._square - float(x @ x)
        self._is_new = n < self._max_axes and rest > _NEW_SHARE * self._square
        if self._is_new:
            x[n] = np.sqrt(rest)
            self._factor[n, : n + 1] = x[: n + 1]
        return x

    def to_gradient_again(self, grad: np.ndarray) -> np.ndarray:
        # the axes stay: SciPy knows coordinates on them
        return self._coordinates(grad, self._n_axes + self._is_new, self._axes[-1])

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        norm = float(np.sqrt(self._square))
        return norm, min(norm, float(np.sqrt(gradient @ gradient)))

    def penalty(self, x: np.ndarray) -> float:
        return 0.0

    def _coordinates(self, grad: np.ndarray, n: int, axis: np.ndarray) -> np.ndarray:
        """Coordinates of a gradient on the first n axes. Writes what its own axis would be, and keeps its square."""
        preconditioner = self.preconditioner
        if isinstance(preconditioner, Diagonal):  # without temporary arrays, which would be as large as the axis
            preconditioner.solve(grad, out=axis)
        else:
            axis[:] = preconditioner.to_theta(preconditioner.to_gradient(grad))
        self._square = float(axis @ grad)
        x = np.zeros(self._max_axes)
        x[:n] = self._solve(self._axes[:n] @ grad, transposed=False)
        return x

    def _solve(self, products: np.ndarray, *, transposed: bool) -> np.ndarray:
        """Solve with the leading part of the factor, of the order of `products`."""
        n = len(products)
        if not n:  # SciPy before 1.14 refuses an empty system
            return products
        return solve_triangular(self._factor[:n, :n], products, lower=True, trans=int(transposed), check_finite=False)
