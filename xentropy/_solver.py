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

from ._variables import ClassVariables, Variables

# The steps that L-BFGS remembers; fewer where to remember takes more time than to evaluate
_MEMORY = 30
# A stage shows its pace after this many evaluations
_LEAST_EVALUATIONS = 8
# Decreases below this share of the value, three times in a row, drown in its rounding
_VISIBLE_DECREASE = 1e-12
# ... and what the gradient promises beyond this share, is out of reach of float64
_REACHABLE_GAP = 1e-13
# With an L1 penalty, of this many entries only some move: those whose gradient is that near to the penalty's; others
# join when the gradient of those that move is that small against the whole
_MANY, _NEARLY, _NARROW = 4000, 0.9, 0.3
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

    def variables(self, theta: np.ndarray) -> Variables | ClassVariables:
        """Variables for a start at theta, which was evaluated last."""

    def renewal_cost(self, decline: float) -> float:
        """Of `renewed_variables`, in evaluations; inf where they would not be better. `decline` is the value over that
        where the variables in use were made."""

    def renewed_variables(self, theta: np.ndarray) -> Variables | ClassVariables:
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
    guess: np.ndarray | None = None,
    share: float = 0.0,
    loosest: float = inf,
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
    guess : float64 ndarray, optional
        Starts there where the value is less than at theta.
    share, loosest : float
        A gradient of this share of its length at theta is short enough, if it is within `loosest` besides: for theta
        that solves a problem nearby, where only the difference matters.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu (1995), A limited memory algorithm for bound constrained optimization, SIAM J. Sci. Comput.
    16(5), 1190-1208.
    """
    run = _Run(problem, tol, max_iter, watch)
    # L-BFGS itself calls a BLAS, whose threads spin between calls and take the cores from the threads of `problem`:
    # digits took 1.45 s with two threads of each, 0.065 s with one for the BLAS
    with _thread_pools().limit(limits=1, user_api="blas"):
        try:
            run.start(theta, guess, share, loosest)
            return run.solve()
        except KeyboardInterrupt:
            return run.solution("interrupted")


class _Run:
    """The state of one minimisation: where it is, and the gradient (of the smooth part, in theta) there."""

    def __init__(
        self, problem: Problem, tol: float, max_iter: int, watch: Callable[[Progress], str | None] | None
    ) -> None:
        self.problem, self.tol, self.max_iter, self.watch = problem, tol, max_iter, watch
        self.l1 = problem.l1_weights()

    def solution(self, status: str) -> Solution:
        return Solution(**vars(self.at), status=status)

    def start(self, theta: np.ndarray, guess: np.ndarray | None, share: float, loosest: float) -> None:
        self.at, self.grad = self._evaluated(theta)
        if not np.isfinite(self.at.value):
            raise ValueError(
                f"the objective is {self.at.value} at the start: X or its coefficients are too large for float64"
            )
        first, grad = self.at, self.grad
        if guess is not None:
            guessed, grad_guessed = self._evaluated(guess)
            first.n_evaluations = guessed.n_evaluations = 2
            if guessed.value < first.value:
                self.at, self.grad = guessed, grad_guessed
        self.variables = self.problem.variables(self.at.theta)
        if share > 0.0:
            space = self.space(self.variables)
            x = space.x(first.theta, grad)
            norm, _ = space.norms(x, space.gradient(grad))
            self.tol = max(self.tol, min(loosest, share * relative(norm, first.value)))

    def _evaluated(self, theta: np.ndarray) -> tuple[Progress, np.ndarray]:
        value, grad = self.problem(theta)
        value += 0.0 if self.l1 is None else float(self.l1 @ np.abs(theta))
        return Progress(theta, value, n_evaluations=1), grad

    def space(self, variables: Variables | ClassVariables) -> _Smooth | _Split:
        return _Smooth(variables) if self.l1 is None else _Split(variables, self.l1)

    def solve(self) -> Solution:
        at, variables, by_gradient = self.at, self.variables, False
        while True:
            ended = _Stage(self, variables, by_gradient).run()
            if ended == "slow":
                variables = self.problem.renewed_variables(at.theta)
            elif ended == "blind" and not by_gradient:
                by_gradient = True
            elif ended == "narrow":
                continue
            elif ended == "blind":
                gap = 0.5 * at.gradient_norm**2 * at.value
                return self.solution("resolved" if gap <= _REACHABLE_GAP else "stalled")
            else:
                return self.solution(ended)


class _Smooth:
    """x = v: where there is no L1 penalty."""

    bounds = None

    def __init__(self, variables: Variables | ClassVariables) -> None:
        self.variables = variables

    def x(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return self.variables.v(theta)

    def theta(self, x: np.ndarray) -> np.ndarray:
        return self.variables.theta(x)

    def penalty(self, x: np.ndarray) -> float:
        return 0.0

    def gradient(self, grad: np.ndarray) -> np.ndarray:
        return self.variables.gradient(grad)

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        """Length of the gradient with respect to v, and of the part of it that x can change."""
        norm = float(np.sqrt(gradient @ gradient))
        return norm, norm


class _Split:
    """x = (p, q) with v = p - q, and p and q >= 0 where there is an L1 penalty, which is linear in them.

    Of many entries only those move that are not zero, and as many again, those that the gradient pulls hardest against
    what the penalty holds: the others wait for the next stage.
    """

    def __init__(self, variables: Variables | ClassVariables, l1: np.ndarray) -> None:
        self.variables = variables
        self.l1 = variables.theta(l1)  # |theta_j| = |v_j| / L_j

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


class _Stage:
    """One run of L-BFGS, from where `run` is, in one set of variables.

    Parameters
    ----------
    by_gradient : bool
        Whether small decreases are taken from the gradient, by the trapezoidal rule: it sees what the rounding of the
        values hides.
    """

    def __init__(self, run: _Run, variables: Variables | ClassVariables, by_gradient: bool) -> None:
        self.of, self.by_gradient = run, by_gradient
        self.space = run.space(variables)
        self.x = self.space.x(run.at.theta, run.grad)
        self.theta, self.value, self.grad = run.at.theta, run.at.value, run.grad
        self.gradient = self.space.gradient(run.grad)
        self.evaluated = False
        self.n_evaluations = 0
        self.ended = "blind"

    def run(self) -> str:
        """Returns a status of `Solution`, or "slow" where better variables would pay, "narrow" where other entries must
        move as well, or "blind" where the value decreases no more as far as can be seen."""
        run, at = self.of, self.of.at
        self.best_norm = self.start_norm = self.space.norms(self.x, self.gradient)[0]
        self.since_best = self.invisible = 0
        at.gradient_norm = relative(self.start_norm, self.value)
        if at.gradient_norm <= run.tol:
            return "converged"
        if at.n_iter >= run.max_iter:
            return "max_iter"
        self.start_x, self.start_value, self.start_gradient = self.x.copy(), self.value, self.gradient
        minimize(
            self._evaluate,
            self.x,
            jac=True,
            bounds=self.space.bounds,
            method="L-BFGS-B",
            callback=self._after_iteration,
            options={
                "maxcor": _MEMORY if len(self.x) <= 100_000 else 10,
                "maxiter": run.max_iter + 1,
                "maxfun": 10**9,
                "gtol": 0.0,
                "ftol": 0.0,
            },
        )
        return self.ended

    def _evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        if self.evaluated:
            self.theta = self.space.theta(x)
            value, self.grad = self.of.problem(self.theta)
            self.x, self.value, self.gradient = x, value + self.space.penalty(x), self.space.gradient(self.grad)
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
        norm, part = self.space.norms(self.x, self.gradient)
        at.decrease = at.value - self.value
        at.theta, at.value, run.grad = self.theta, self.value, self.grad
        at.gradient_norm = relative(norm, self.value)
        at.n_iter += 1
        self.since_best = 0 if norm < self.best_norm else self.since_best + 1
        self.invisible = 0 if at.decrease > _VISIBLE_DECREASE * abs(at.value) else self.invisible + 1
        self.best_norm = min(norm, self.best_norm)
        asked = run.watch(at) if run.watch is not None else None
        if asked is not None:
            self.ended = asked
        elif at.gradient_norm <= run.tol:
            self.ended = "converged"
        elif at.n_iter >= run.max_iter:
            self.ended = "max_iter"
        elif part < _NARROW * norm:
            self.ended = "narrow"
        elif self._is_blind():
            self.ended = "blind"
        elif self.n_evaluations >= _LEAST_EVALUATIONS and self._is_slow(norm):
            self.ended = "slow"
        else:
            return
        raise StopIteration

    def _is_blind(self) -> bool:
        if self.by_gradient:
            return self.since_best >= max(_PATIENCE, self.of.at.n_iter // 4)
        return self.invisible >= 3

    def _is_slow(self, norm: float) -> bool:
        """Whether this stage has taken as long as better variables would, and is that far from its end."""
        cost = self.of.problem.renewal_cost(self.value / self.start_value)
        return self.n_evaluations >= cost and self._left(norm) > cost

    def _left(self, norm: float) -> float:
        """Evaluations from here to `tol`, at the pace of this stage."""
        goal = self.of.tol * max(abs(self.value), _LEAST_VALUE)
        if norm >= self.start_norm or goal <= 0.0:
            return inf
        return self.n_evaluations * log(norm / goal) / log(self.start_norm / norm)


def relative(norm: float, value: float) -> float:
    return norm / max(abs(value), _LEAST_VALUE)
