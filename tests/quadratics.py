"""Quadratic functions whose minimum is known, in place of an objective, and a preconditioning for them."""

from math import inf
from types import SimpleNamespace

import numpy as np

from xentropy._preconditioner import Diagonal


class Quadratic:
    """1 + (theta - best)^T A (theta - best) / 2, with what `minimise` asks of an objective.

    In low precision a value is off by `bias` and has nine digits, and a gradient has seven.
    """

    def __init__(self, A, best, *, l1=None, float32_pays=False, bias=0.0):
        self.A, self.best, self.l1, self.bias = A, best, l1, bias
        self.design = SimpleNamespace(float32_pays=float32_pays, least_weight=1.0, n_rows=1, weight_sum=1.0)
        self.n_exact = self.n_low = 0

    def __call__(self, theta, precision="float64"):
        gradient = self.A @ (theta - self.best)
        value = 1.0 + 0.5 * float((theta - self.best) @ gradient)
        if precision == "float32":
            self.n_low += 1
            return round(value + self.bias, 9), gradient.astype(np.float32).astype(np.float64)
        self.n_exact += 1
        return value, gradient

    def low(self, theta):
        return self(theta, "float32")

    def l1_weights(self):
        return self.l1

    def resolution(self):
        return 2e-7  # of values near one


class Factored:
    """The preconditioner of a matrix, of which theta may be several columns."""

    def __init__(self, matrix):
        self.factor = np.linalg.cholesky(matrix)

    def to_x(self, theta):
        return (self.factor.T @ self._columns(theta)).ravel()

    def to_theta(self, x):
        return np.linalg.solve(self.factor.T, self._columns(x)).ravel()

    def to_gradient(self, grad):
        return np.linalg.solve(self.factor, self._columns(grad)).ravel()

    def _columns(self, x):
        return x.reshape(len(self.factor), -1)


class Renewing:
    """A preconditioning that knows the matrix of a quadratic, at a cost of so many evaluations, and of another for each
    factor of it."""

    n_outputs = 1

    def __init__(self, problem, *, first=None, cost=inf, of_factor=0.0):
        self.A, self.cost, self.of_factor, self.current = problem.A, cost, of_factor, None
        self.first = np.ones(len(problem.best)) if first is None else first
        self.n_renewed = self.n_counted = 0

    def diagonal(self):
        return Diagonal(self.first)

    def start(self, theta):
        self.current = self.diagonal()
        return self.current

    def count(self, n_evaluations):
        self.n_counted += n_evaluations

    def cost_of_renewal(self, n_evaluations):
        return self.cost if not self.n_renewed and self.n_counted + n_evaluations >= self.cost else inf

    def renewed(self, theta):
        self.n_renewed += 1
        self.current = Factored(self.A)
        return self.current

    def diagonals_here(self, theta):
        return [], []

    def hessian_cost(self, n_entries, n_factors=0):
        return self.cost

    def factor_cost(self, order):
        return self.of_factor

    def hessian_of(self, theta, entries):
        self.n_renewed += 1
        return self.A[np.ix_(entries, entries)]


def turned(curvatures, seed=0):
    """A matrix with these eigenvalues, and a minimum somewhere."""
    n, rng = len(curvatures), np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return Q @ np.diag(curvatures) @ Q.T, rng.standard_normal(n)


def spread():
    """Curvatures over six decades."""
    return turned(np.logspace(-3, 3, 30))


def gentle():
    """Curvatures over two decades."""
    return turned(np.logspace(-1, 1, 30))
