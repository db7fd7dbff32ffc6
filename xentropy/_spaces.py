"""What L-BFGS varies: the numbers x that it sees, and how theta and its gradient follow from them.

The variables v of a factor of the curvature (`_variables`); with an L1 penalty two numbers for each, within bounds, or
where the signs stay those of the entries that are not zero.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import Bounds

from ._variables import ClassVariables, Variables

# With an L1 penalty, of this many entries only some move: those whose gradient is that near to the penalty's
_MANY, _NEARLY = 4000, 0.9
# A gradient makes a new axis if this share of its square is not spanned: less would soon drown in the rounding of the
# products, and the axes no longer be at right angles
_NOTHING_NEW = 1e-2
# A value that declined to this share has about the same Hessian
SAME = 0.9999
# The steps that L-BFGS remembers; fewer where to remember takes more time than to evaluate
_MEMORY = 30
# ... as it does with many variables: so many numbers in all, but never fewer steps than that. With 3 steps rather than
# 5, 2e5 to 2.3e6 variables took 6 to 20 % less time, in up to a fifth more iterations; 51 200 of them took a tenth less
# with 11 than with 30
_MOST_REMEMBERED, _SHORTEST_MEMORY = 600_000, 3


def steps_remembered(n_variables: int) -> int:
    """How many of the last steps L-BFGS is to remember."""
    return max(_SHORTEST_MEMORY, min(_MEMORY, _MOST_REMEMBERED // max(1, n_variables)))


class Problem(Protocol):
    """What can be minimised: ``fun(theta) -> (value, gradient)``, and variables that suit it (`_variables`)."""

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]: ...

    @property
    def coarse(self) -> Callable[[np.ndarray], tuple[float, np.ndarray]] | None:
        """The same in fewer digits and less time, which is enough far from the minimum; None where there is no such
        thing, or where at what was evaluated last it would be too far off."""

    @property
    def coarse_resolution(self) -> float:
        """Smaller decreases are not seen in the values of `coarse`."""

    @property
    def last_variables(self) -> Variables | ClassVariables | None:
        """What `variables` or `renewed_variables` has returned last, if without an L1 penalty."""

    def few_rows(self) -> Problem | None:
        """The same on a sample of the rows; None where that would save no time."""

    def lack_of_minimum(self, value: float) -> str | None:
        """The status of a minimisation that came to this value, if that proves that there is no minimum."""

    def learn_hessian(self, few: Any, theta: np.ndarray) -> None:
        """Take the Hessian there of `few_rows`, for the variables of a start at theta."""

    def variables(self, theta: np.ndarray) -> Variables | ClassVariables:
        """Variables for a start at theta, which was evaluated last."""

    def renewal_cost(self, decline: float) -> float:
        """Of `renewed_variables`, in evaluations; inf where they would not be better. `decline` is the value over that
        where the variables in use were made."""

    def renewed_variables(self, theta: np.ndarray) -> Variables | ClassVariables:
        """Variables that suit the surroundings of theta."""

    def support_cost(self, n_free: int) -> float:
        """Of `support_variables` for that many entries, in evaluations."""

    def support_variables(self, theta: np.ndarray, free: np.ndarray) -> Variables:
        """Variables of the entries theta[free], with an L1 penalty: of the Hessian at theta."""

    def l1_weights(self) -> np.ndarray | None:
        """Weight of |theta_j| in what is minimised besides the function; asks for diagonal `variables`."""


class Smooth:
    """x = v: where there is no L1 penalty."""

    bounds = None

    def __init__(self, variables: Variables | ClassVariables) -> None:
        self.variables = variables

    def renewal_cost(self, problem: Problem, theta: np.ndarray, decline: float) -> float:
        return problem.renewal_cost(decline)

    def x(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return self.variables.v(theta)

    def theta(self, x: np.ndarray) -> np.ndarray:
        return self.variables.theta(x)

    def penalty(self, x: np.ndarray) -> float:
        return 0.0

    def gradient(self, grad: np.ndarray) -> np.ndarray:
        return self.variables.gradient(grad)

    def gradient_again(self, grad: np.ndarray) -> np.ndarray:
        """The gradient at the same x, with more digits."""
        return self.gradient(grad)

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        """Length of the gradient with respect to v, and of the part of it that x can change."""
        norm = float(np.sqrt(gradient @ gradient))
        return norm, norm


class Spanned(Smooth):
    """x are coordinates in the span of the first gradients, which is where L-BFGS goes from where it starts: so that of
    very many variables it sees few.

    The axes are H^-1 g of the gradients g, with H = L L^T the curvature that v is made of. The coordinates are those of
    an orthonormal basis of their span in v, made by Cholesky's factor of their products: so the axes themselves stay as
    they are, and each evaluation reads them twice, for the coordinates of the gradient and for theta. An axis whose x
    is not zero was the gradient where a line search has ended, and stays; the next takes the place of any other.

    Parameters
    ----------
    n_axes : int
        The most. Once they are all there, what they do not span of the gradient cannot be followed.
    """

    def __init__(self, variables: Variables | ClassVariables, n_axes: int) -> None:
        super().__init__(variables)
        self._most = n_axes

    def x(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        self._origin, self._axes = theta, np.empty((self._most + 1, len(theta)))
        self._factor = np.zeros((self._most, self._most))
        self._n_axes, self._is_new = 0, False
        return np.zeros(self._most)

    def theta(self, x: np.ndarray) -> np.ndarray:
        if self._is_new and x[self._n_axes] != 0.0:
            self._n_axes, self._is_new = self._n_axes + 1, False
        n = self._n_axes
        theta = self._solved(x[:n], transposed=True) @ self._axes[:n]
        theta += self._origin
        return theta

    def gradient(self, grad: np.ndarray) -> np.ndarray:
        n = self._n_axes
        x = self._coordinates(grad, n, self._axes[n])
        rest = self._square - float(x @ x)
        self._is_new = n < self._most and rest > _NOTHING_NEW * self._square
        if self._is_new:
            x[n] = np.sqrt(rest)
            self._factor[n, : n + 1] = x[: n + 1]
        return x

    def gradient_again(self, grad: np.ndarray) -> np.ndarray:
        # the axes stay: SciPy knows coordinates on them
        return self._coordinates(grad, self._n_axes + self._is_new, self._axes[-1])

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        norm = float(np.sqrt(self._square))
        return norm, min(norm, float(np.sqrt(gradient @ gradient)))

    def _coordinates(self, grad: np.ndarray, n: int, axis: np.ndarray) -> np.ndarray:
        """On the first n axes. Writes what the axis of this gradient would be, and keeps its square."""
        self.variables.descent(grad, out=axis)
        self._square = float(axis @ grad)
        x = np.zeros(self._most)
        x[:n] = self._solved(self._axes[:n] @ grad, transposed=False)
        return x

    def _solved(self, products: np.ndarray, *, transposed: bool) -> np.ndarray:
        """With the factor of as many axes."""
        n = len(products)
        if not n:  # which SciPy has taken since 1.14 only
            return products
        factor = self._factor[:n, :n]
        return solve_triangular(factor, products, lower=True, trans=int(transposed), check_finite=False)


class Split:
    """x = (p, q) with v = p - q, and p and q >= 0 where there is an L1 penalty, which is linear in them.

    Of many entries only those move that are not zero, and as many again, those that the gradient pulls hardest against
    what the penalty holds: the others wait for the next stage.
    """

    def __init__(self, variables: Variables | ClassVariables, l1: np.ndarray, steady: int) -> None:
        self.variables, self.steady = variables, steady
        self._signs, self._unchanged = np.empty(0), 0
        self.l1 = variables.theta(l1)  # |theta_j| = |v_j| / L_j

    def renewal_cost(self, problem: Problem, theta: np.ndarray, decline: float) -> float:
        """Of the variables of the support, once that has not changed for a while."""
        signs = np.sign(theta)
        self._unchanged = self._unchanged + 1 if np.array_equal(signs, self._signs) else 0
        self._signs = signs
        return inf if self._unchanged < self.steady else problem.support_cost(int(np.count_nonzero(signs)))

    def x(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        v, pull = self.variables.v(theta), np.abs(self.variables.gradient(grad))
        self.moving = np.arange(len(v))
        if len(v) > _MANY:
            must = (v != 0.0) | (self.l1 == 0.0)
            pulled = np.flatnonzero(~must & (pull > _NEARLY * self.l1))
            n_new = max(_MANY // 2, int(must.sum()))
            if len(pulled) > n_new:
                hardest = np.argpartition(pull[pulled] / self.l1[pulled], -n_new)[-n_new:]
                pulled = pulled[hardest]
            must[pulled] = True
            self.moving = np.flatnonzero(must)
        v, penalised = v[self.moving], self.l1[self.moving] > 0.0
        self.bounds = Bounds(
            np.concatenate([np.where(penalised, 0.0, -inf), np.zeros(len(v))]),
            np.concatenate([np.full(len(v), inf), np.where(penalised, inf, 0.0)]),
        )
        p, q = np.maximum(v, 0.0), np.maximum(-v, 0.0)
        return np.concatenate([np.where(penalised, p, v), np.where(penalised, q, 0.0)])

    def theta(self, x: np.ndarray) -> np.ndarray:
        return self.variables.theta(self._v(x))

    def penalty(self, x: np.ndarray) -> float:
        m = len(self.moving)
        return float(self.l1[self.moving] @ (x[:m] + x[m:]))

    def gradient(self, grad: np.ndarray) -> np.ndarray:
        self._g = self.variables.gradient(grad)
        g, l1 = self._g[self.moving], self.l1[self.moving]
        return np.concatenate([g + l1, l1 - g])

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        v, g, l1 = self._v(x), self._g, self.l1
        shortest = np.where(v == 0.0, np.maximum(np.abs(g) - l1, 0.0), g + np.sign(v) * l1)
        part = shortest[self.moving]
        return float(np.sqrt(shortest @ shortest)), float(np.sqrt(part @ part))

    def _v(self, x: np.ndarray) -> np.ndarray:
        m = len(self.moving)
        v = np.zeros(len(self.l1))
        v[self.moving] = x[:m] - x[m:]
        return v


class Support:
    """x = v of the entries that are not zero, or that the gradient pulls from it, with an L1 penalty: where their signs
    stay, that is linear in them, and any variables will do.

    Parameters
    ----------
    most_pulled : int
        So many of the zeros move, those that the gradient pulls hardest. Together they may pull each other back.
    """

    bounds = None

    def __init__(self, problem: Problem, theta: np.ndarray, grad: np.ndarray, l1: np.ndarray, most_pulled: int) -> None:
        self.l1, self.others = l1, problem.variables(theta)
        self._grad = grad
        free = (theta != 0.0) | (l1 == 0.0)
        pull = np.abs(self.others.gradient(self._unheld(free)))
        pulled = np.argsort(-pull, kind="stable")[: min(most_pulled, int(np.count_nonzero(pull)))]
        self.n_pulled = len(pulled)
        free[pulled] = True
        self.free = np.flatnonzero(free)
        self.slope = (l1 * np.where(theta != 0.0, np.sign(theta), -np.sign(grad)))[self.free]
        self.variables = problem.support_variables(theta, self.free)

    def renewal_cost(self, problem: Problem, theta: np.ndarray, decline: float) -> float:
        return problem.support_cost(len(self.free)) if decline < SAME else inf

    def x(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return self.variables.v(theta[self.free])

    def theta(self, x: np.ndarray) -> np.ndarray:
        theta = np.zeros(len(self.l1))
        theta[self.free] = self.variables.theta(x)
        return theta

    def penalty(self, x: np.ndarray) -> float:
        return float(self.slope @ self.variables.theta(x))

    def gradient(self, grad: np.ndarray) -> np.ndarray:
        self._grad = grad
        return self.variables.gradient(grad[self.free] + self.slope)

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        others, part = self.others.gradient(self._unheld(self.free)), gradient @ gradient
        return float(np.sqrt(others @ others + part)), float(np.sqrt(part))

    def _unheld(self, free: np.ndarray) -> np.ndarray:
        """What the penalty does not hold of the gradient of the other entries."""
        unheld = np.maximum(np.abs(self._grad) - self.l1, 0.0)
        unheld[free] = 0.0
        return unheld

    def crossed(self, theta: np.ndarray) -> np.ndarray:
        """Entries whose sign has changed."""
        return self.free[theta[self.free] * self.slope < 0.0]
