"""Minimise a smooth function, plus an L1 norm, with SciPy's L-BFGS-B. Knows a callable, not a loss.

The minimisation goes in stages. A stage is a run of L-BFGS in one set of variables; it ends when the problem is solved,
or when better variables, from the curvature where it has come to, will pay for themselves. With an L1 penalty bounds
find which entries are not zero; where those and their signs stay, any variables will do for them (an orthant, as in
Andrew & Gao, 2007, ICML, 33-40: but one at a time).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from ._spaces import Problem, Smooth, Spanned, Split, Support, steps_remembered
from ._variables import ClassVariables, Variables

# Of so many variables a step takes SciPy longer than it takes to evaluate them: so they start in the span of that many
# gradients. TF-IDF of 11 300 rows, 2.3e6 variables, 15 iterations: 1.8 s and 640 MB without, 0.9 s and 430 MB with
# them. Where they are not enough, L-BFGS begins anew, which costs some 4 iterations
_VERY_MANY, _N_AXES = 200_000, 20
# A stage shows its pace after this many evaluations
_LEAST_EVALUATIONS = 8
# Decreases below this share of the value, three times in a row, drown in its rounding
_VISIBLE_DECREASE = 1e-12
# ... as do differences below this one
_ROUNDING = 1e-13
# ... and what the gradient promises beyond this share, is out of reach of float64
_REACHABLE_GAP = 1e-13
# Other entries join when the gradient of those that move is that small against the whole
_NARROW = 0.3
# With an L1 penalty, the support is left to itself after so many iterations without a change
_STEADY = 4
# ... and if that many supports in turn did not end it, bounds find a better one, with twice the patience
_MANY_SUPPORTS = 16
# Values below this count as this: a mean loss of that many nats is nothing
_LEAST_VALUE = 1e-8
# Where the gradient has not become shorter for so many iterations (a quarter of all, for a slow problem), it does not
# because of its own rounding
_PATIENCE = 30
# Differences below this share of the value are taken from the gradient, where the value hides them
_BY_GRADIENT = 1e-9

# A gradient below this length is short: a first step of one would go too far
_SHORT = 0.5
# Variables in which rounding grows more than that take all digits: with few, nearly collinear features asked for 114
# evaluations instead of 29
_MOST_INFLATED = 30.0

# The minimum on a sample is off by what the sample leaves open, of the order of a percent of the value; where it is
# hard to find, as with classes that a plane nearly separates, it is not worth more iterations
_TOL_ON_SAMPLE, _MOST_ITER_ON_SAMPLE, _SOON = 0.02, 12, 2

# Finding the thread pools of the process takes milliseconds, limiting them microseconds.
_thread_pools = lru_cache(maxsize=1)(ThreadpoolController)


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
    from_sample: bool = False,
) -> Solution:
    """Minimise `problem` from `theta` until the gradient is no longer than `tol` times the value.

    The gradient is measured in variables in which the curvature is about one. There half its square is about the
    distance of the value from its minimum, so `tol` bounds the error of the value relatively, to about tol^2 where the
    curvature has kept its size and to tol where it has shrunk with the value; neither depends on the units of the
    features, nor on how many rows, features or classes there are. A value below that share of 1e-8 is nothing, and
    solved besides.

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
    from_sample : bool
        Starts where `problem` on a sample of the rows has its minimum, if there is such a sample, with its Hessian
        there. What this takes is counted nowhere.

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
            return run.start(run.solved_on_sample(theta) if from_sample else theta, guess, share, loosest).solve()
        except KeyboardInterrupt:
            return run.solution("interrupted")


class _Run:
    """The state of one minimisation: where it is, and the gradient (of the smooth part, in theta) there."""

    def __init__(
        self, problem: Problem, tol: float, max_iter: int, watch: Callable[[Progress], str | None] | None
    ) -> None:
        self.problem, self.tol, self.max_iter, self.watch = problem, tol, max_iter, watch
        self.l1 = problem.l1_weights()
        self.coarse = problem.coarse if self.l1 is None else None
        self.most_pulled, self.steady = 1 << 30, _STEADY

    def solved_on_sample(self, theta: np.ndarray) -> np.ndarray:
        """The minimum of a sample, from theta, or near to it; or theta, if there is no sample, or it has no minimum, or
        one that is near."""
        self.at = Progress(theta, inf)
        few = self.problem.few_rows() if self.max_iter else None
        if few is None:
            return theta
        run = _Run(few, _TOL_ON_SAMPLE, _MOST_ITER_ON_SAMPLE, lambda at: few.lack_of_minimum(at.value))
        found = run.start(theta).solve()
        if found.status == "separated" or found.n_iter <= _SOON:  # which all rows find as soon
            return theta
        self.problem.learn_hessian(few, found.theta)
        return found.theta

    def solution(self, status: str) -> Solution:
        if self.coarse is not None and status != "interrupted":
            self.refine()
        return Solution(**vars(self.at), status=status)

    def start(
        self, theta: np.ndarray, guess: np.ndarray | None = None, share: float = 0.0, loosest: float = inf
    ) -> _Run:
        self.at = Progress(theta, inf)
        self.at, self.grad = self._evaluated(theta)
        if not np.isfinite(self.at.value):
            raise ValueError(
                f"the objective is {self.at.value} at the start: X or its coefficients are too large for float64"
            )
        first, grad = self.at, self.grad
        if guess is not None and not self._seems_solved():
            guessed, grad_guessed = self._evaluated(guess)
            first.n_evaluations = guessed.n_evaluations = 2
            if guessed.value < first.value:
                self.at, self.grad = guessed, grad_guessed
        variables = self.problem.variables(self.at.theta)
        self.first_space: Smooth | Split
        self.first_space = self._smooth(variables) if self.l1 is None else Split(variables, self.l1, self.steady)
        if self.l1 is None and len(theta) >= _VERY_MANY:
            self.first_space = Spanned(variables, _N_AXES)
        if share > 0.0:
            x = self.first_space.x(first.theta, grad)
            norm, _ = self.first_space.norms(x, self.first_space.gradient(grad))
            self.tol = max(self.tol, min(loosest, share * relative(norm, first.value)))
        return self

    def _seems_solved(self) -> bool:
        """Whether the gradient is within `tol` in the variables of the last minimisation, of a problem nearby."""
        variables = self.problem.last_variables
        if variables is None or self.l1 is not None:
            return False
        gradient = variables.gradient(self.grad)
        return relative(float(np.sqrt(gradient @ gradient)), self.at.value) <= self.tol

    def evaluate(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        if self.coarse is not None:
            value, grad = self.coarse(theta)
            if np.isfinite(value) and np.isfinite(grad @ grad):
                return value, grad
            self.coarse = None
        return self.problem(theta)

    def refine(self) -> None:
        """All digits from here on."""
        self.coarse = None
        self.at.value, self.grad = self.problem(self.at.theta)
        self.at.n_evaluations += 1

    def _evaluated(self, theta: np.ndarray) -> tuple[Progress, np.ndarray]:
        value, grad = self.evaluate(theta)
        value += 0.0 if self.l1 is None else float(self.l1 @ np.abs(theta))
        return Progress(theta, value, n_evaluations=1), grad

    def is_solved(self) -> bool:
        """Whether the gradient is within `tol`, or the value itself within what `tol` is of nothing."""
        return self.at.gradient_norm <= self.tol or 0.0 <= self.at.value <= self.tol * _LEAST_VALUE

    def solve(self) -> Solution:
        at, by_gradient, n_supports = self.at, False, 0
        space: Smooth | Split | Support = self.first_space
        while True:
            began = at.n_iter
            ended = _Stage(self, space, by_gradient).run()
            in_support = isinstance(space, Support)
            n_supports += in_support
            if in_support and (
                (ended == "lost" and not space.n_pulled)  # type: ignore[union-attr]
                or (ended == "blind" and at.n_iter == began)
                or (ended in ("crossed", "slow", "narrow") and n_supports % _MANY_SUPPORTS == 0)
            ):
                self.steady *= 2
                space = Split(self.problem.variables(at.theta), self.l1, self.steady)  # type: ignore[arg-type]
            elif ended == "lost":
                self.most_pulled = space.n_pulled // 2  # type: ignore[union-attr]
                space = self._better_space()
            elif ended in ("slow", "crossed") or (ended == "narrow" and in_support):
                self.most_pulled = max(1, 2 * self.most_pulled)
                space = self._better_space()
            elif ended in ("blind", "failed") and self.coarse is not None:
                self.refine()
            elif ended == "blind" and not by_gradient:
                by_gradient = True
            elif ended == "narrow" and isinstance(space, Spanned):
                space = Smooth(space.variables)
            elif ended in ("narrow", "failed"):
                continue
            elif ended == "blind":
                gap = 0.5 * at.gradient_norm**2 * at.value
                return self.solution("resolved" if gap <= _REACHABLE_GAP else "stalled")
            else:
                return self.solution(ended)

    def _better_space(self) -> Smooth | Support:
        theta, problem = self.at.theta, self.problem
        if self.l1 is None:
            return self._smooth(problem.renewed_variables(theta))
        return Support(problem, theta, self.grad, self.l1, self.most_pulled)

    def _smooth(self, variables: Variables | ClassVariables) -> Smooth:
        if self.coarse is not None and variables.inflation > _MOST_INFLATED:
            self.refine()
        return Smooth(variables)


class _Stage:
    """One run of L-BFGS, from where `run` is, in one set of variables.

    Parameters
    ----------
    by_gradient : bool
        Whether small decreases are taken from the gradient, by the trapezoidal rule: it sees what the rounding of the
        values hides.
    """

    def __init__(self, run: _Run, space: Smooth | Split | Support, by_gradient: bool) -> None:
        self.of, self.space, self.by_gradient = run, space, by_gradient
        self.x = self.space.x(run.at.theta, run.grad)
        self.theta, self.value, self.grad = run.at.theta, run.at.value, run.grad
        self.gradient = self.space.gradient(run.grad)
        self.lowest = self.x, self.theta, self.value, self.grad, self.gradient
        self.hidden = 0.0  # what the value that SciPy has seen last lies above it
        self.evaluated = False
        self.n_evaluations = 0
        self.ended = "failed"

    def run(self) -> str:
        """Returns a status of `Solution`, or "slow" where better variables would pay, "narrow" where other entries must
        move as well, "failed" where a line search has not ended, or "blind" where the value decreases no more as far as
        can be seen."""
        run, at = self.of, self.of.at
        self.best_norm = self.start_norm = self._norms()[0]
        self.hidden = 0.0
        at.value, run.grad = self.value, self.grad
        self.since_best = self.invisible = 0
        at.gradient_norm = relative(self.start_norm, self.value)
        if run.is_solved():
            return "converged"
        if at.n_iter >= run.max_iter:
            return "max_iter"
        self.start_x, self.start_value, self.start_gradient = self.x.copy(), self.value, self.gradient
        # SciPy's first step has a length of one, whatever the gradient; where that is short, Newton's is as long as it
        self.unit = self.start_norm if self.start_norm < _SHORT else 1.0
        minimize(
            self._value_at,
            self.x / self.unit,
            jac=self._gradient_there,  # with jac=True SciPy compares each x with the last one, twice
            bounds=self.space.bounds,
            method="L-BFGS-B",
            callback=self._after_iteration,
            options={
                "maxcor": steps_remembered(len(self.x)),
                "maxiter": run.max_iter + 1,
                "maxfun": 10**9,
                "gtol": 0.0,
                "ftol": 0.0,
            },
        )
        if self.ended == "failed":
            self._take_lowest()
        return self.ended

    def _take_lowest(self) -> None:
        """Where a line search has failed, what it has seen as the lowest point ends it, if that is visibly lower."""
        self.x, self.theta, self.value, self.grad, self.gradient = self.lowest
        highest = min(self.start_value, self.of.at.value)
        if self.value >= highest - _VISIBLE_DECREASE * abs(highest):
            self.ended = "blind"
            return
        with suppress(StopIteration):
            self._after_iteration(OptimizeResult())

    def _value_at(self, in_units: np.ndarray) -> float:
        x = in_units if self.unit == 1.0 else self.unit * in_units
        if self.evaluated:
            self.theta = self.space.theta(x)
            value, self.grad = self.of.evaluate(self.theta)
            self.x, self.value, self.gradient = x, value + self.space.penalty(x), self.space.gradient(self.grad)
            self.n_evaluations += 1
            self.of.at.n_evaluations += 1
            if self.value < self.lowest[2]:
                self.lowest = self.x, self.theta, self.value, self.grad, self.gradient
        self.evaluated = True  # SciPy asks first for the start, which is known
        value = self.value + self.hidden
        if self.by_gradient:
            value = self.value - self.start_value
            if abs(value) <= _BY_GRADIENT * abs(self.value):
                value = 0.5 * float((self.gradient + self.start_gradient) @ (x - self.start_x))
        return value / self.unit**2

    def _gradient_there(self, _: np.ndarray) -> np.ndarray:
        """SciPy asks for it after each value, at the same x."""
        return self.gradient if self.unit == 1.0 else self.gradient / self.unit

    def _after_iteration(self, intermediate_result: OptimizeResult) -> None:
        """SciPy calls it where a line search has ended, which is at the point evaluated last."""
        run, at = self.of, self.of.at
        crossed = isinstance(self.space, Support) and self._step_back(self.space)
        if crossed and (self.theta is at.theta or self.value > at.value + _ROUNDING * abs(at.value)):
            self.ended = "lost"
            raise StopIteration
        norm, part = self._norms()
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
        elif run.is_solved():
            self.ended = "converged"
        elif at.n_iter >= run.max_iter:
            self.ended = "max_iter"
        elif crossed:
            self.ended = "crossed"
        elif part < _NARROW * norm:
            self.ended = "narrow"
        elif self._is_blind():
            self.ended = "blind"
        elif self._is_slow(norm):
            self.ended = "slow"
        else:
            return
        raise StopIteration

    def _norms(self) -> tuple[float, float]:
        """Lengths of the gradient: once it is short, from here on with all digits."""
        run = self.of
        norm, part = self.space.norms(self.x, self.gradient)
        is_fine = relative(norm, self.value) <= run.tol or 0.5 * norm**2 <= run.problem.coarse_resolution
        is_fine = is_fine or run.problem.coarse is None
        if not is_fine or run.coarse is None:
            return norm, part
        run.coarse = None
        seen = self.value
        self.value, self.grad = run.problem(self.theta)
        self.gradient = self.space.gradient_again(self.grad)  # type: ignore[union-attr]
        self.hidden = seen - self.value
        self.lowest = self.x, self.theta, self.value, self.grad, self.gradient
        self.n_evaluations += 1
        run.at.n_evaluations += 1
        return self.space.norms(self.x, self.gradient)

    def _step_back(self, space: Support) -> bool:
        """Where entries have changed their sign, make them zero, and say so: all of them, or if that is not better the
        first on the way, where the value has declined as it is convex."""
        before, after = self.of.at.theta, self.theta
        crossed = space.crossed(after)
        if not len(crossed):
            return False
        self._go(space, crossed, after)
        if self.value > self.of.at.value:
            on_the_way = before[crossed] / (before[crossed] - after[crossed])
            first = on_the_way.min()
            if first == 0.0:
                self.theta = before
                return True
            self._go(space, crossed[on_the_way == first], before + first * (after - before))
        return True

    def _go(self, space: Support, zeros: np.ndarray, theta: np.ndarray) -> None:
        self.theta = theta.copy()
        self.theta[zeros] = 0.0
        value, self.grad = self.of.problem(self.theta)
        self.value = value + float(space.l1 @ np.abs(self.theta))
        self.gradient = space.gradient(self.grad)
        self.n_evaluations += 1
        self.of.at.n_evaluations += 1

    def _is_blind(self) -> bool:
        if self.by_gradient:
            return self.since_best >= max(_PATIENCE, self.of.at.n_iter // 4)
        return self.invisible >= 3

    def _is_slow(self, norm: float) -> bool:
        """Whether this stage has taken as long as better variables would, and is that far from its end."""
        if self.n_evaluations < _LEAST_EVALUATIONS and not isinstance(self.space, Split):  # which counts iterations
            return False
        cost = self.space.renewal_cost(self.of.problem, self.theta, self.value / self.start_value)
        return self.n_evaluations >= max(_LEAST_EVALUATIONS, cost) and self._left(norm) > cost

    def _left(self, norm: float) -> float:
        """Evaluations from here to `tol`, at the pace of this stage."""
        goal = self.of.tol * max(abs(self.value), _LEAST_VALUE)
        if norm >= self.start_norm or goal <= 0.0:
            return inf
        return self.n_evaluations * log(norm / goal) / log(self.start_norm / norm)


def relative(norm: float, value: float) -> float:
    return norm / max(abs(value), _LEAST_VALUE)
