"""L-BFGS through SciPy's L-BFGS-B: runs of it, one after the other, in coordinates that may differ from run to run.

This module knows a callable and coordinates, not a loss. The caller decides after each iteration whether a run should
end so that the next has other coordinates.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf, log
from sys import float_info
from typing import Protocol

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize
from sklearn.exceptions import ConvergenceWarning

from ._preconditioner import Preconditioner

# Steps that L-BFGS remembers. With many variables it remembers fewer, so that they hold _MAX_REMEMBERED numbers at
# most, but at least _MIN_MEMORY steps. (embeddings_2e4x512_100, and text once it leaves the gradient subspace)
_MEMORY, _MAX_REMEMBERED, _MIN_MEMORY = 30, 600_000, 3
# Differences of the value below this share of it are lost in its rounding, which sums over rows and columns collect.
ROUNDING = 1e-12
# Differences below this share are taken from the gradient where the value hides them.
BY_SLOPE = 1e-9
# The gradient has stagnated if it has not become shorter for this many iterations, or for a quarter of all of them.
_PATIENCE = 30
# What is left of the value at the end, relatively, is at most so many times the square of `tol`: 1e-7 by default.
_PROMISED = 10.0
# A value below this counts as this: a mean loss of this many nats is nothing, of rows that weigh about the same.
LEAST_VALUE = 1e-8
# SciPy's first step has length one. Newton's is as long as the gradient, and is taken if it is no longer than this.
_LONGEST_FIRST_STEP = 0.5
# The pace of a run is judged after this many evaluations. (breast_cancer)
_MIN_PACE = 8
# The curvature where a run has ended is looked at again if the gradient has become this much shorter, but after so many
# runs without a decrease no longer. Rows with huge values hold the coefficients until they are classified, which takes
# a part of `tol`. (tests/test_convergence.py: huge values)
_MUCH_SHORTER, _MAX_VAIN, _STRICTER = 0.1, 3, 1e-3
# A run ends where no more than this share of the gradient can be followed in its coordinates.
_MIN_REACHABLE = 0.3


class Status(StrEnum):
    """Why a run of L-BFGS ended, or all of a minimisation."""

    CONVERGED = "converged"  # the gradient is within `tol`
    RESOLVED = "resolved"  # the decrease that the gradient predicts is below what float64 resolves
    MAX_ITER = "max_iter"
    STALLED = "stalled"  # no step decreases the value, though the gradient predicts a decrease
    INTERRUPTED = "interrupted"  # by a KeyboardInterrupt
    SEPARATED = "separated"  # a monitor has proved that there is no minimum
    EARLY = "early"  # a monitor stopped it: the validation loss no longer improves
    STOPPED = "stopped"  # a callback asked for it
    # Ends of a run after which the minimisation goes on
    RENEW = "renew"  # another preconditioner pays
    STAGNATED = "stagnated"  # the value has stopped decreasing, as far as can be seen
    LINE_SEARCH_FAILED = "line search failed"
    SUBSPACE_EXHAUSTED = "subspace exhausted"  # most of the gradient lies outside what the coordinates can change


# A run that ends so is at a minimum, if its variables show where it is.
ENDS_AT_A_MINIMUM = (Status.CONVERGED, Status.RESOLVED, Status.STALLED)


@dataclass
class Progress:
    """Where a minimisation is, for a monitor.

    Attributes
    ----------
    theta : the current point.
    value : the function there.
    gradient_norm : length of the gradient in the preconditioned variables over the value, which `tol` bounds.
    decrease : how much the last iteration took off the value.
    n_iter, n_evaluations : so far.
    """

    theta: np.ndarray
    value: float = inf
    gradient_norm: float = inf
    decrease: float = inf
    n_iter: int = 0
    n_evaluations: int = 0


@dataclass
class Solution(Progress):
    """Where a minimisation ended, and why."""

    status: Status = Status.CONVERGED

    @property
    def converged(self) -> bool:
        return self.status in (Status.CONVERGED, Status.RESOLVED)

    def warn(self, tol: float, max_iter: int) -> None:
        """A `ConvergenceWarning` where the minimum was not reached: how far it is, and what to do."""
        if self.status is Status.MAX_ITER:
            reason, remedy = f"stopped at max_iter={max_iter}", "Increase max_iter or tol, or decrease C"
        elif self.status is Status.STALLED:
            reason, remedy = f"found no further decrease after {self.n_iter} iterations", "Increase tol, or decrease C"
        else:
            return
        last = ""
        if np.isfinite(self.decrease):
            last = f"; the last iteration took {self.decrease / self.value:.1e} of the objective off"
        warnings.warn(
            f"L-BFGS {reason} with the gradient norm at {self.gradient_norm:.1e} of the objective, where tol={tol:.1e} "
            f"was asked for{last}. {remedy}.",
            ConvergenceWarning,
            stacklevel=5,
        )


class Coordinates(Protocol):
    """What L-BFGS varies: numbers x, from which theta follows."""

    bounds: Bounds | None

    def start(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """The x of theta, where the smooth part has the gradient `grad`."""

    def to_theta(self, x: np.ndarray) -> np.ndarray: ...

    def to_gradient(self, grad: np.ndarray) -> np.ndarray:
        """The gradient with respect to x, given that of the smooth part with respect to theta."""

    def to_gradient_again(self, grad: np.ndarray) -> np.ndarray:
        """The same at an x that SciPy knows already, from a gradient of another precision."""

    def penalty(self, x: np.ndarray) -> float:
        """What is added to the smooth part."""

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        """Lengths of the gradient in the preconditioned variables, and of the part of it that x can change."""


class Preconditioned:
    """x = L^T theta for a preconditioner L L^T."""

    bounds: Bounds | None = None

    def __init__(self, preconditioner: Preconditioner) -> None:
        self.preconditioner = preconditioner
        self.to_theta, self.to_gradient = preconditioner.to_theta, preconditioner.to_gradient

    def start(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return self.preconditioner.to_x(theta)

    def to_gradient_again(self, grad: np.ndarray) -> np.ndarray:
        return self.to_gradient(grad)

    def penalty(self, x: np.ndarray) -> float:
        return 0.0

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        norm = float(np.sqrt(gradient @ gradient))
        return norm, norm


class Minimisation:
    """The state of a minimisation, which goes on through several runs of L-BFGS.

    Parameters
    ----------
    fun : callable
        theta -> (value, gradient) of the smooth part, in float64 arithmetic.
    theta : float64 ndarray
        Where to start.
    tol : float
        The gradient is short enough at `tol` times the value.
    max_iter : int
        Most iterations of all runs together.
    monitor : callable, optional
        Called after each iteration with a `Progress`. What it returns, unless None, ends the minimisation.
    l1 : float64 ndarray or None
        Weights of an L1 term, which the value includes.
    low_precision : callable, optional
        The same function in less time and in fewer digits.
    resolution : callable, optional
        () -> the decrease that `low_precision` still resolves.
    least_value : float
        A value below this counts as this.

    Attributes
    ----------
    at : Progress
    grad : float64 ndarray
        The gradient of the smooth part with respect to theta, at `at`.
    by_slope : bool
        Whether small decreases are taken from the gradient, by the trapezoidal rule, as the rounding of the values
        hides them (Hager & Zhang, 2005, SIAM J. Optim. 16(1), 170-192, section 4).
    """

    def __init__(
        self,
        fun: Callable[[np.ndarray], tuple[float, np.ndarray]],
        theta: np.ndarray,
        *,
        tol: float,
        max_iter: int,
        monitor: Callable[[Progress], Status | None] | None = None,
        l1: np.ndarray | None = None,
        low_precision: Callable[[np.ndarray], tuple[float, np.ndarray]] | None = None,
        resolution: Callable[[], float] | None = None,
        least_value: float = LEAST_VALUE,
    ) -> None:
        self.fun, self.tol, self.max_iter, self.monitor, self.l1 = fun, tol, max_iter, monitor, l1
        self.low_precision, self.resolution = low_precision, resolution
        self.least_value = max(least_value, float_info.min)
        self.at = Progress(theta)
        self.by_slope = False

    def begin(self) -> None:
        """Evaluate the start."""
        theta = self.at.theta
        self.at.value, self.grad = self.evaluate(theta)
        self.at.value += self.l1_term(theta)
        if not np.isfinite(self.at.value):
            raise ValueError(
                f"the objective is {self.at.value} at the start: X or its coefficients are too large for float64"
            )

    def evaluate(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The smooth part at theta, in low precision as long as that serves."""
        self.at.n_evaluations += 1
        if self.low_precision is not None:
            value, grad = self.low_precision(theta)
            if np.isfinite(value) and np.isfinite(grad @ grad):
                return value, grad
            self.low_precision = None
        return self.fun(theta)

    def l1_term(self, theta: np.ndarray) -> float:
        return 0.0 if self.l1 is None else float(self.l1 @ np.abs(theta))

    def refine(self) -> None:
        """Use full precision from here on."""
        if self.low_precision is not None:
            self.low_precision = None
            self.at.value, self.grad = self.evaluate(self.at.theta)

    def try_start(self, theta: np.ndarray) -> None:
        """Begin at theta if the value is lower there."""
        value, grad = self.evaluate(theta)
        value += self.l1_term(theta)
        if value < self.at.value:
            self.at.theta, self.at.value, self.grad = theta, value, grad

    def is_solved(self) -> bool:
        """Whether the gradient is within `tol`, or the value is at most `tol` times `least_value`."""
        return self.at.gradient_norm <= self.tol or 0.0 <= self.at.value <= self.tol * self.least_value

    def relative(self, norm: float, value: float) -> float:
        """The length of a gradient by the side of the value, which `tol` bounds."""
        return norm / max(abs(value), self.least_value)

    def falls_short(self, gradient_norm: float) -> bool:
        """Whether a gradient of this length, in variables where the curvature is about one here, promises a decrease
        that is more than `tol` leaves."""
        return 0.5 * gradient_norm * gradient_norm > self.unimportant_decrease

    @property
    def unimportant_decrease(self) -> float:
        """How much of the value `tol` leaves at most."""
        return max(_PROMISED * self.tol**2, ROUNDING) * max(abs(self.at.value), self.least_value)

    def accept(self, theta: np.ndarray, value: float, grad: np.ndarray) -> None:
        """End an iteration at theta."""
        at = self.at
        at.decrease = at.value - value
        at.theta, at.value, self.grad = theta, value, grad
        at.n_iter += 1

    def ends(self, moved: bool = True) -> Status | None:
        """Why it should end here, if it should. The monitor is asked where an iteration has `moved` here."""
        if moved and self.monitor is not None and (asked := self.monitor(self.at)) is not None:
            return asked
        if self.is_solved():
            return Status.CONVERGED
        return Status.MAX_ITER if self.at.n_iter >= self.max_iter else None

    def run(self, coordinates: Coordinates, ends: Callable[[Run], Status | None]) -> Status:
        """Minimise in these coordinates until that ends for good, or for other coordinates.

        `ends` is called with the run after each iteration. Unless it returns None, the run ends with that status."""
        while True:
            ended = Run(self, coordinates, ends).minimise()
            if ended in (Status.STAGNATED, Status.LINE_SEARCH_FAILED) and self.low_precision is not None:
                self.refine()
            elif ended is Status.STAGNATED and not self.by_slope:
                self.by_slope = True
            elif ended is Status.STAGNATED:
                gap = 0.5 * self.at.gradient_norm * self.at.gradient_norm * self.at.value  # a power of it may raise
                return Status.RESOLVED if gap <= ROUNDING else Status.STALLED
            elif ended is not Status.LINE_SEARCH_FAILED:
                return ended

    def norm(self, coordinates: Coordinates) -> float:
        """Length of the gradient in these coordinates."""
        return coordinates.norms(coordinates.start(self.at.theta, self.grad), coordinates.to_gradient(self.grad))[0]

    def solution(self, status: Status) -> Solution:
        if status is not Status.INTERRUPTED:
            self.refine()
        return Solution(**vars(self.at), status=status)


class Check:
    """Whether a minimisation that seems to be at a minimum is at one: in coordinates where the curvature is about one
    there, no run goes lower.

    Parameters
    ----------
    of : Minimisation
    here : callable
        () -> coordinates for a run from the current point, and others in which the curvature would be about one but for
        few rows. Both are empty where there is nothing to check.

    Attributes
    ----------
    status : Status
        How the runs have ended.
    """

    def __init__(self, of: Minimisation, here: Callable[[], tuple[list[Coordinates], list[Coordinates]]]) -> None:
        self.of, self.here, self.status = of, here, Status.STALLED
        self._further: list[Coordinates] = []  # in which the gradient promises a decrease
        self._at, self._grad = Progress(np.empty(0)), np.empty(0)  # the lowest end of a run
        self._n_vain = 0  # runs since the last decrease
        self._start_norm = self._left = 0.0  # of the gradient where the last run began, and where `here` was asked
        self._held = inf  # that of `left` in the other coordinates
        self._tol = of.tol

    def after(self, ended: Status) -> Coordinates | None:
        """Coordinates for another run after one that has `ended`; None where none is needed, and then the minimisation
        is at the lowest end, and `status` says how it has ended."""
        of, at, before = self.of, self.of.at, self._at
        if ended not in ENDS_AT_A_MINIMUM:
            self.status = ended
            return None
        is_first, is_lower = np.isinf(before.value), at.value < before.value
        if before.value - at.value > of.unimportant_decrease:
            self._n_vain, look = 0, True
            self.status = ended if ended is not Status.STALLED or is_first else self.status
        else:  # where the gradient has changed, the curvature has, and it may show what is left
            self._n_vain += 1
            look = is_lower and at.gradient_norm <= _MUCH_SHORTER * self._start_norm and self._n_vain <= _MAX_VAIN
            at.gradient_norm = before.gradient_norm
        if is_lower:
            self._at, self._grad = replace(at), of.grad
        else:
            at.theta, at.value, of.grad = before.theta, before.value, self._grad
        if look:
            self._look()
        if self._further:
            further = self._further.pop(0)
            self._start_norm = of.relative(of.norm(further), at.value)
            return further
        of.tol = self._tol
        if of.falls_short(self._left):
            self.status = Status.STALLED
        return None

    def gives_up(self, run: Run) -> Status | None:
        """STALLED if a run that should find a decrease has not found any that `tol` counts."""
        if run.n_evaluations < _MIN_PACE or self._at.value - run.value > run.of.unimportant_decrease:
            return None
        return Status.STALLED

    def _look(self) -> None:
        of, (here, but_for_few_rows) = self.of, self.here()
        found = [(of.norm(coordinates), coordinates) for coordinates in here + but_for_few_rows]
        self._left = max((norm for norm, _ in found[: len(here)]), default=0.0)
        held = max((norm for norm, _ in found[len(here) :]), default=0.0)
        if but_for_few_rows and (of.tol == self._tol or held <= _MUCH_SHORTER * self._held):  # few rows are letting go
            of.tol *= _STRICTER
        self._held = held
        self._further = [coordinates for norm, coordinates in found if of.falls_short(norm)]


class Run:
    """One run of L-BFGS-B in one set of coordinates.

    Parameters
    ----------
    of : Minimisation
    coordinates : Coordinates
    ends : callable
        See `Minimisation.run`.

    Attributes
    ----------
    x, theta, value, grad, gradient
        The point evaluated last: its coordinates, the value, and the gradient with respect to theta and to x.
    norm, start_norm : float
        Length of the gradient now, and at the start of this run.
    start_value : float
    n_evaluations : int
        In this run.
    """

    def __init__(self, of: Minimisation, coordinates: Coordinates, ends: Callable[[Run], Status | None]) -> None:
        self.of, self.coordinates, self.ends = of, coordinates, ends
        self.x = coordinates.start(of.at.theta, of.grad)
        self.theta, self.value, self.grad = of.at.theta, of.at.value, of.grad
        self.gradient = coordinates.to_gradient(of.grad)
        self._to_theta, self._to_gradient = coordinates.to_theta, coordinates.to_gradient
        self._penalty = coordinates.penalty if of.l1 is not None else None
        self.n_evaluations = 0
        self._is_start, self._ended = True, Status.LINE_SEARCH_FAILED
        self._seen_above = 0.0  # the last value that SciPy has seen, less the value in full precision there
        self._lowest: tuple[np.ndarray, np.ndarray, float, np.ndarray]
        self._keep_lowest()

    def minimise(self) -> Status:
        of, at = self.of, self.of.at
        self.norm, _ = self._norms()
        self.start_norm = self._best_norm = self.norm
        self._seen_above = 0.0  # the last value that SciPy has seen, less the value in full precision there
        at.value, of.grad = self.value, self.grad
        self._since_best, self._invisible, self._pace = 0, 0, [(self.n_evaluations, self.norm)]
        at.gradient_norm = of.relative(self.norm, self.value)
        if (ended := of.ends(moved=False)) is not None:
            return ended
        self._start_x, self.start_value, self._start_gradient = self.x, self.value, self.gradient
        self._last_value = self.value  # as SciPy sees it: with bounds |theta| is less than what x says
        # In coordinates divided by the unit, of the value divided by its square, the curvature stays at one, and a
        # first step of length one is as long as Newton's.
        self._unit = self.start_norm if self.start_norm < _LONGEST_FIRST_STEP else 1.0
        minimize(
            self._scaled_value,
            self.x / self._unit,
            jac=self._scaled_gradient,  # with jac=True SciPy compares each x with the last one, twice
            bounds=self.coordinates.bounds,
            method="L-BFGS-B",
            callback=self._after_iteration,
            options={
                "maxcor": steps_remembered(len(self.x)),
                "maxiter": of.max_iter + 1,
                "maxfun": 10**9,
                "gtol": 0.0,
                "ftol": 0.0,
            },
        )
        if self._ended is Status.LINE_SEARCH_FAILED:
            self._take_lowest()
        return self._ended

    def renewal_pays(self, cost: float) -> Status | None:
        """RENEW if another preconditioner that costs this many evaluations pays: if more than that are left to `tol`,
        at the pace of this run or of its second half."""
        if self.n_evaluations < _MIN_PACE or not np.isfinite(cost):
            return None
        goal = self.of.tol * max(abs(self.value), self.of.least_value)
        for n_evaluations, norm in (self._pace[0], self._pace[len(self._pace) // 2]):
            if self.norm >= norm or goal <= 0.0:
                return Status.RENEW
            left = (self.n_evaluations - n_evaluations) * log(self.norm / goal) / log(norm / self.norm)
            if left > cost:
                return Status.RENEW
        return None

    def _scaled_value(self, scaled: np.ndarray) -> float:
        x = scaled * self._unit
        if self._is_start:  # SciPy asks for the start first, which is known
            self._is_start = False
        else:
            of, self.x, self.theta = self.of, x, self._to_theta(x)
            if of.low_precision is None:  # without the frame of `evaluate`
                self.value, self.grad = of.fun(self.theta)
                of.at.n_evaluations += 1
            else:
                self.value, self.grad = of.evaluate(self.theta)
            self.gradient = self._to_gradient(self.grad)
            if self._penalty is not None:
                self.value += self._penalty(x)
            self.n_evaluations += 1
            if self.value < self._lowest[2]:
                self._lowest = x, self.theta, self.value, self.grad
        value = self.value + self._seen_above
        if self.of.by_slope:
            value = self.value - self.start_value
            if abs(value) <= BY_SLOPE * abs(self.value):
                value = 0.5 * float((self.gradient + self._start_gradient) @ (x - self._start_x))
        return value / self._unit**2

    def _scaled_gradient(self, _: np.ndarray) -> np.ndarray:
        """SciPy asks for it after each value, at the same x."""
        return self.gradient / self._unit

    def _after_iteration(self, intermediate_result: OptimizeResult) -> None:
        """SciPy calls this where a line search has ended, which is at the point evaluated last."""
        of, at = self.of, self.of.at
        self.norm, reachable = self._norms()
        of.accept(self.theta, self._value_at_theta(), self.grad)
        at.gradient_norm = of.relative(self.norm, self.value)
        self._since_best = 0 if self.norm < self._best_norm else self._since_best + 1
        self._best_norm = min(self.norm, self._best_norm)
        self._pace.append((self.n_evaluations, self._best_norm))
        visible = self._last_value - self.value > ROUNDING * abs(self.value)
        self._invisible, self._last_value = 0 if visible else self._invisible + 1, self.value
        if (ended := of.ends()) is not None:
            self._end(ended)
        if reachable < _MIN_REACHABLE * self.norm:
            self._end(Status.SUBSPACE_EXHAUSTED)
        if self._has_stagnated():
            self._end(Status.STAGNATED)
        if (asked := self.ends(self)) is not None:
            self._end(asked)

    def _end(self, status: Status) -> None:
        self._ended = status
        raise StopIteration

    def _norms(self) -> tuple[float, float]:
        """Lengths of the gradient; once it is so short that low precision hides what it promises, in full precision."""
        of = self.of
        norm, reachable = self.coordinates.norms(self.x, self.gradient)
        if of.low_precision is None or not (
            of.relative(norm, self.value) <= of.tol or 0.5 * norm * norm <= of.resolution()  # type: ignore[misc]
        ):
            return norm, reachable
        of.low_precision = None
        seen = self.value
        self.value, self.grad = of.evaluate(self.theta)
        self.gradient = self.coordinates.to_gradient_again(self.grad)
        self._seen_above = seen - self.value
        self._keep_lowest()
        self.n_evaluations += 1
        return self.coordinates.norms(self.x, self.gradient)

    def _value_at_theta(self) -> float:
        """The value, with |theta| in its L1 term where x may say more than theta does."""
        if self._penalty is None:
            return self.value
        return self.value - self._penalty(self.x) + self.of.l1_term(self.theta)

    def _has_stagnated(self) -> bool:
        """Whether the value no longer decreases visibly, or will not after the next step: half the square of the
        gradient is what is left of it. By slopes: whether the gradient no longer becomes shorter."""
        if self.of.by_slope:
            return self._since_best >= max(_PATIENCE, self.of.at.n_iter // 4)
        return self._invisible >= 3 or 0.5 * self.norm * self.norm <= ROUNDING * abs(self.value)

    def _keep_lowest(self) -> None:
        self._lowest = self.x, self.theta, self.value, self.grad

    def _take_lowest(self) -> None:
        """Where a line search has failed, the lowest point that it has seen ends it, if that is visibly lower."""
        self.x, self.theta, self.value, self.grad = self._lowest
        self.gradient = self._to_gradient(self.grad)  # coordinates keep what `norms` needs of the last gradient
        highest = min(self.start_value, self._last_value)
        if self.value >= highest - ROUNDING * abs(highest):
            self._ended = Status.STAGNATED
            return
        with suppress(StopIteration):
            self._after_iteration(OptimizeResult())


def steps_remembered(n_variables: int) -> int:
    """How many of the last steps L-BFGS remembers."""
    return max(_MIN_MEMORY, min(_MEMORY, _MAX_REMEMBERED // max(1, n_variables)))
