"""Minimise a smooth function, plus an L1 norm, with SciPy's L-BFGS-B. Knows a callable, not a loss.

The minimisation goes in stages. A stage is a run of L-BFGS in one set of variables; it ends when the problem is solved,
or when better variables, from the curvature where it has come to, will pay for themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log
from typing import Protocol

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from ._variables import Variables

# The steps that L-BFGS remembers
_MEMORY = 30
# A stage shows its pace after this many evaluations
_LEAST_EVALUATIONS = 8
# Decreases below this share of the value drown in its rounding
_VISIBLE_DECREASE = 1e-12
# ... and what the gradient promises beyond this share, is out of reach of float64
_REACHABLE_GAP = 1e-13
# Values below this count as this: a mean loss of that many nats is nothing
_LEAST_VALUE = 1e-8
# Where the gradient has not become shorter for so many iterations (a quarter of all, for a slow problem), it does not
# because of its own rounding
_PATIENCE = 30
# Differences below this share of the value are taken from the gradient, where the value hides them
_BY_GRADIENT = 1e-9

# Finding the thread pools of the process takes milliseconds, limiting them microseconds.
_thread_pools = lru_cache(maxsize=1)(ThreadpoolController)


class Problem(Protocol):
    """What can be minimised: ``fun(theta) -> (value, gradient)``, and variables that suit it (`_variables`)."""

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]: ...

    def variables(self) -> Variables: ...

    def renewal_cost(self) -> float:
        """Of `renewed_variables`, in evaluations."""

    def renewed_variables(self, theta: np.ndarray) -> Variables:
        """Variables that suit the surroundings of theta."""

    def l1_weights(self) -> np.ndarray | None:
        """Weight of |theta_j| in what is minimised besides the function; asks for diagonal `variables`."""


@dataclass
class Progress:
    """Where a minimisation is, for whoever watches it.

    Attributes
    ----------
    theta : the current point.
    value : the function there.
    gradient_norm : length of the gradient in the solver's variables, divided by the value: what `tol` is compared with.
    decrease : how much the last iteration took off the value.
    n_iter, n_evaluations : so far.
    """

    theta: np.ndarray
    value: float
    gradient_norm: float = inf
    decrease: float = inf
    n_iter: int = 0
    n_evaluations: int = 0


@dataclass
class Solution(Progress):
    """Where a minimisation ended, and why. `status` is what `watch` returned, or one of

    "converged"    the gradient is within `tol`
    "resolved"     not within `tol`, but the decrease that it promises is below what float64 can resolve
    "max_iter"
    "stalled"      no step decreases the function, though its gradient promises one
    "interrupted"  by a KeyboardInterrupt
    """

    status: str = ""

    @property
    def converged(self) -> bool:
        return self.status in ("converged", "resolved")

    def warn(self, tol: float, max_iter: int) -> None:
        """A `ConvergenceWarning` where the minimum was not reached: how far it is, and what to do."""
        if self.status == "max_iter":
            reason = f"stopped at max_iter={max_iter}"
            remedy = "Increase max_iter or tol, or decrease C"
        elif self.status == "stalled":
            reason = f"found no further decrease after {self.n_iter} iterations"
            remedy = "Increase tol, or decrease C"
        elif self.status == "separated":
            warnings.warn(
                "The classes are perfectly separable and C is infinite: the larger the coefficients, the smaller the "
                f"loss, without end. Stopped after {self.n_iter} iterations, where every row is on its side. Set a "
                "finite C.",
                ConvergenceWarning,
                stacklevel=4,
            )
            return
        else:
            return
        last = f"; the last iteration took {self.decrease / self.value:.1e} of the objective off" if self.n_iter else ""
        warnings.warn(
            f"L-BFGS {reason} with the gradient norm at {self.gradient_norm:.1e} of the objective, where tol={tol:.1e} "
            f"was asked for{last}. {remedy}.",
            ConvergenceWarning,
            stacklevel=4,
        )


def minimize_lbfgs(
    problem: Problem,
    theta: np.ndarray,
    *,
    tol: float,
    max_iter: int,
    watch: Callable[[Progress], str | None] | None = None,
) -> Solution:
    """Minimise `problem` from `theta` until the gradient is no longer than `tol` times the value.

    The gradient is measured in variables in which the curvature is about one. There half its square is about the
    distance of the value from its minimum, so `tol` bounds the error of the value relatively, to about tol^2 where the
    curvature has kept its size and to tol where it has shrunk with the value; neither depends on the units of the
    features, nor on how many rows, features or classes there are.

    Parameters
    ----------
    problem : Problem
    theta : float64 ndarray
        Where to start.
    tol : float
    max_iter : int
        Most iterations of L-BFGS, of all stages together.
    watch : callable, optional
        Called after each iteration with a `Progress`. Unless it returns None, the minimisation ends there, and what it
        returned is the status.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu (1995), A limited memory algorithm for bound constrained optimization, SIAM J. Sci. Comput.
    16(5), 1190-1208.
    """
    run = _Run(problem, theta, tol, max_iter, watch)
    # L-BFGS itself calls a BLAS, whose threads spin between calls and take the cores from the threads of `problem`:
    # digits took 1.45 s with two threads of each, 0.065 s with one for the BLAS
    with _thread_pools().limit(limits=1, user_api="blas"):
        try:
            return run.solve()
        except KeyboardInterrupt:
            return run.solution("interrupted")


class _Run:
    """The state of one minimisation: where it is, and the gradient (of the smooth part, in theta) there."""

    def __init__(
        self,
        problem: Problem,
        theta: np.ndarray,
        tol: float,
        max_iter: int,
        watch: Callable[[Progress], str | None] | None,
    ) -> None:
        self.problem, self.tol, self.max_iter, self.watch = problem, tol, max_iter, watch
        self.l1 = problem.l1_weights()
        self.at = Progress(theta, inf)
        self.grad = theta

    def solution(self, status: str) -> Solution:
        return Solution(**vars(self.at), status=status)

    def solve(self) -> Solution:
        at = self.at
        value, self.grad = self.problem(at.theta)
        at.value = value if self.l1 is None else value + float(self.l1 @ np.abs(at.theta))
        at.n_evaluations = 1
        if not np.isfinite(value):
            raise ValueError(f"the objective is {value} at the start: X or its coefficients are too large for float64")
        variables, by_gradient = self.problem.variables(), False
        while True:
            ended = _Stage(self, variables, by_gradient).run()
            if ended == "slow":
                variables = self.problem.renewed_variables(at.theta)
            elif ended == "blind" and not by_gradient:
                by_gradient = True
            elif ended == "blind":
                gap = 0.5 * at.gradient_norm**2 * at.value
                return self.solution("resolved" if gap <= _REACHABLE_GAP else "stalled")
            else:
                return self.solution(ended)


class _Stage:
    """One run of L-BFGS, from where `run` is, in one set of variables.

    With an L1 penalty x = (p, q) for v = p - q, with p and q >= 0 where there is a penalty, which is linear in them;
    otherwise x = v.

    Parameters
    ----------
    by_gradient : bool
        Whether small decreases are taken from the gradient, by the trapezoidal rule: it sees what the rounding of the
        values hides.
    """

    def __init__(self, run: _Run, variables: Variables, by_gradient: bool) -> None:
        self.of, self.variables, self.by_gradient = run, variables, by_gradient
        self.x, self.bounds, self.l1 = variables.v(run.at.theta), None, None
        if run.l1 is not None:
            self.l1 = variables.theta(run.l1)  # |theta_j| = |v_j| / L_j
            penalised, nothing = self.l1 > 0.0, np.zeros_like(self.x)
            self.x = np.concatenate(
                [np.where(penalised, np.maximum(self.x, 0.0), self.x), np.where(penalised, np.maximum(-self.x, 0.0), 0)]
            )
            self.bounds = Bounds(
                np.concatenate([np.where(penalised, 0.0, -inf), nothing]),
                np.concatenate([nothing + inf, np.where(penalised, inf, 0.0)]),
            )
        self.value, self.gradient = run.at.value, self._in_x(run.grad)
        self.theta, self.grad, self.evaluated = run.at.theta, run.grad, False
        self.n_evaluations = 0
        self.ended = "blind"

    def run(self) -> str:
        """Returns a status of `Solution`, or "slow" where better variables would pay, or "blind" where the value
        decreases no more as far as can be seen."""
        run, at = self.of, self.of.at
        self.best_norm = self.start_norm = self._norm(self.x, self.gradient)
        self.since_best = 0
        at.gradient_norm = self._relative(self.start_norm)
        if at.gradient_norm <= run.tol:
            return "converged"
        if at.n_iter >= run.max_iter:
            return "max_iter"
        self.cost = run.problem.renewal_cost()
        self.start_x, self.start_value, self.start_gradient = self.x.copy(), self.value, self.gradient
        minimize(
            self._evaluate,
            self.x,
            jac=True,
            bounds=self.bounds,
            method="L-BFGS-B",
            callback=self._after_iteration,
            options={"maxcor": _MEMORY, "maxiter": run.max_iter + 1, "maxfun": 10**9, "gtol": 0.0, "ftol": 0.0},
        )
        return self.ended

    def _evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        if self.evaluated:
            self.theta = self.variables.theta(x if self.l1 is None else x[: len(self.l1)] - x[len(self.l1) :])
            self.value, self.grad = self.of.problem(self.theta)
            if self.l1 is not None:
                self.value += float(self.l1 @ (x[: len(self.l1)] + x[len(self.l1) :]))
            self.x, self.gradient = x, self._in_x(self.grad)
            self.n_evaluations += 1
            self.of.at.n_evaluations += 1
        self.evaluated = True  # SciPy asks first for the start, which is known
        if not self.by_gradient:
            return self.value, self.gradient
        difference = self.value - self.start_value
        if abs(difference) <= _BY_GRADIENT * abs(self.value):
            difference = 0.5 * float((self.gradient + self.start_gradient) @ (x - self.start_x))
        return difference, self.gradient

    def _after_iteration(self, intermediate_result: OptimizeResult) -> None:
        """SciPy calls it where a line search has ended, which is at the point evaluated last."""
        run, at = self.of, self.of.at
        norm = self._norm(self.x, self.gradient)
        at.decrease = at.value - self.value
        at.theta, at.value, run.grad = self.theta, self.value, self.grad
        at.gradient_norm = self._relative(norm)
        at.n_iter += 1
        self.since_best = 0 if norm < self.best_norm else self.since_best + 1
        self.best_norm = min(norm, self.best_norm)
        asked = run.watch(at) if run.watch is not None else None
        if asked is not None:
            self.ended = asked
        elif at.gradient_norm <= run.tol:
            self.ended = "converged"
        elif at.n_iter >= run.max_iter:
            self.ended = "max_iter"
        elif self._is_blind():
            self.ended = "blind"
        elif self.n_evaluations >= max(_LEAST_EVALUATIONS, self.cost) and self._left(norm) > 0.25 * self.cost:
            self.ended = "slow"
        else:
            return
        raise StopIteration

    def _is_blind(self) -> bool:
        if self.by_gradient:
            return self.since_best >= max(_PATIENCE, self.of.at.n_iter // 4)
        return self.of.at.decrease <= _VISIBLE_DECREASE * abs(self.value)

    def _left(self, norm: float) -> float:
        """Evaluations from here to `tol`, at the pace of this stage."""
        goal = self.of.tol * max(self.value, _LEAST_VALUE)
        if norm >= self.start_norm or goal <= 0.0:
            return inf
        return self.n_evaluations * log(norm / goal) / log(self.start_norm / norm)

    def _in_x(self, grad: np.ndarray) -> np.ndarray:
        g = self.variables.gradient(grad)
        return g if self.l1 is None else np.concatenate([g + self.l1, self.l1 - g])

    def _norm(self, x: np.ndarray, gradient: np.ndarray) -> float:
        """Length of the gradient; with an L1 penalty of the shortest subgradient."""
        if self.l1 is not None:
            m = len(self.l1)
            up, down = gradient[:m], -gradient[m:]  # derivatives to both sides
            at_zero = np.maximum(np.maximum(-up, down), 0.0)
            gradient = np.where(x[:m] > x[m:], up, np.where(x[:m] < x[m:], down, at_zero))
            gradient = np.where(self.l1 > 0.0, gradient, up)
        return float(np.sqrt(gradient @ gradient))

    def _relative(self, norm: float) -> float:
        return norm / max(self.value, _LEAST_VALUE)
