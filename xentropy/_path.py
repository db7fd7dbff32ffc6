"""A path of minima, from the strongest penalty to the weakest: each is where the search for the next one starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ._blas import one_blas_thread
from ._lbfgs import Progress, Solution, Status
from ._objective import Objective
from ._preconditioning import Preconditioning
from ._solver import minimise

# The minima of a path are only compared, so each may end where its gradient is this share of what it was where the one
# for the C before had ended, within so many times `tol`: a percent of the scores, where those of folds differ by tens.
# With an L1 penalty a gradient says less of what is left, as entries are still to come or to go: at 100 times `tol`
# scores were off by up to 70 %
_SHARE, _LOOSEST, _LOOSEST_L1 = 0.1, 100.0, 3.0
# Early stopping begins with a penalty under which the loss decreases by this share at most, and multiplies C by this
# factor in each step. With a factor of 10 the best C lay between two steps, and up to 22 % of the validation loss were
# lost; with this one, 4 %. (tests/test_path.py)
_FIRST_DECREASE, _FACTOR = 0.05, 10.0**0.5
# Fitted coefficients raise the loss on new rows above that on the training rows by about one part in n each (Akaike,
# 1974, IEEE Trans. Autom. Control 19(6), 716-723), twice of what they lose there. Where this is no more than this share
# of the loss, no step on the way to C is much better than its end. (tests/test_path.py)
_OPTIMISM = 0.03
# Where the penalty is this share of the loss, the path goes on at its end.
_SMALL = 0.01
# A path without an end goes on for so many times its first C: digits beyond these are lost in float64.
_LONGEST = 1e16


class Path:
    """The minima of an objective, for one penalty after the other.

    Parameters
    ----------
    objective : Objective
    tol : float
    """

    def __init__(self, objective: Objective, tol: float) -> None:
        self._objective, self._tol, self._preconditioning = objective, tol, Preconditioning(objective)

    def begin(self, theta: np.ndarray) -> None:
        """Begin with the strongest penalty at theta."""
        self._walk = _Walk(theta)

    def minimise(
        self,
        C: float,
        l1_ratio: float,
        max_iter: int,
        *,
        is_last: bool = False,
        monitor: Callable[[Progress], Status | None] | None = None,
    ) -> Solution:
        """The next minimum, to within `tol` if it is the last, or else well enough to be compared."""
        objective = self._objective
        objective.penalise(C, l1_ratio)
        theta, guess = self._walk.starts(C)
        loosest = (_LOOSEST if objective.l1_weights() is None else _LOOSEST_L1) * self._tol
        solution = minimise(
            objective, theta, tol=self._tol, max_iter=max_iter, monitor=monitor, preconditioning=self._preconditioning,
            guess=guess, share=0.0 if is_last else _SHARE, loosest=loosest,
        )  # fmt: skip
        self._walk.went_to(C, solution.theta)
        return solution


@one_blas_thread()
def stop_early(
    objective: Objective,
    theta: np.ndarray,
    l1_ratio: float,
    *,
    tol: float,
    max_iter: int,
    monitor: Callable[[Progress, float], Status | None],
    validation: Callable[[np.ndarray], float],
    n_validation: int,
) -> Solution:
    """Follow the path from W = 0 to the penalty of `objective`, or until `monitor` asks to stop.

    Where there are so many rows that the coefficients hardly overfit, the minimum at the end of the path is all of it,
    if the validation loss there is not above the training loss by more than chance explains. If it is, the iterations
    that led there are not counted.

    Parameters
    ----------
    objective : Objective
    theta : float64 ndarray
        A start that competes with what the path finds. The path itself starts at `objective.start()`.
    l1_ratio : float
        That of `objective`.
    tol : float
    max_iter : int
        Most iterations of L-BFGS in all steps together.
    monitor : callable
        Called with theta and after each step: with a `Progress`, whose value is that under the penalty of `objective`,
        and with the C of the step. It is 0 for `objective.start()`, and NaN for any other theta.
    validation : callable
        theta -> mean loss of the validation rows.
    n_validation : int
        How many they are.
    """
    objective.design.check_variances()
    prior, end = objective.start(), objective.C
    at = Solution(theta, value=objective.value(theta), gradient_norm=np.nan, n_evaluations=1)
    Cs, path = _penalties(objective, prior, l1_ratio), Path(objective, tol)
    path.begin(prior)

    def separated(at: Progress) -> Status | None:
        return Status.SEPARATED if objective.is_separated(at.value) else None

    def tell(step: Solution, C: float, value: float) -> Status | None:
        nonlocal at
        if step.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        n_iter, n_evaluations = at.n_iter + step.n_iter, at.n_evaluations + step.n_evaluations
        at = replace(step, value=value, n_iter=n_iter, n_evaluations=n_evaluations)
        return monitor(at, C)

    place = 0
    try:
        ended = monitor(at, 0.0 if np.array_equal(theta, prior) else np.nan)
        if ended is None and len(Cs) > 1 and _hardly_overfits(objective):
            step = minimise(objective, prior, tol=tol, max_iter=max_iter, monitor=separated, from_subsample=True)
            if step.status is Status.INTERRUPTED:
                raise KeyboardInterrupt
            loss = step.value - objective.penalty(step.theta)
            chance = 2.0 / np.sqrt(n_validation)  # losses of rows have a deviation of about their mean
            is_general = validation(step.theta) <= (1.0 + _OPTIMISM + chance) * loss
            if step.status is not Status.SEPARATED and _hardly_overfits(objective) and is_general:
                tell(step, end, step.value)
                ended = step.status
        while ended is None:
            C, is_last = Cs[place], place == len(Cs) - 1
            step = path.minimise(C, l1_ratio, max_iter - at.n_iter, is_last=is_last, monitor=separated)
            penalty = objective.penalty(step.theta)
            loss = step.value - penalty
            no_longer_matters = penalty <= _SMALL * loss and _hardly_weighs(objective)
            objective.penalise(end, l1_ratio)
            ended = tell(step, C, loss + objective.penalty(step.theta))
            if is_last or step.status is Status.MAX_ITER:
                ended = step.status
            place = len(Cs) - 1 if no_longer_matters else place + 1
    except KeyboardInterrupt:
        ended = Status.INTERRUPTED
    objective.penalise(end, l1_ratio)
    return replace(at, status=ended)


def _hardly_overfits(objective: Objective) -> bool:
    """Whether there are rows enough for each coefficient, at the loss that was found last."""
    design = objective.design
    is_convex = design.row_loss.loss.convex
    return is_convex and design.n_theta <= _OPTIMISM * objective.loss * design.effective_size


def _penalties(objective: Objective, prior: np.ndarray, l1_ratio: float) -> np.ndarray:
    """The values of C of a path: from one under which the features hardly matter to that of the objective."""
    end, weight_sum = objective.C, objective.design.weight_sum
    objective.penalise(np.inf, l1_ratio)
    loss, grad = objective(prior)
    objective.penalise(end, l1_ratio)
    slope, _ = objective.design.views(grad)
    with np.errstate(over="ignore"):  # a preconditioner names the column
        steepest, squares = float(np.abs(slope).max(initial=0.0)), float(np.sum(slope * slope))
    if squares == 0.0:
        return np.array([end])
    # With an L1 penalty all coefficients are zero up to some C. With an L2 penalty they are -C S slope / (1 - l1_ratio)
    # at first, and take their product with the slope off the loss.
    first = max(l1_ratio / steepest, (1.0 - l1_ratio) * _FIRST_DECREASE * loss / squares) / weight_sum
    first = max(first, np.finfo(np.float64).tiny / min(1.0, weight_sum))  # a smaller C has an infinite penalty
    n_steps = np.ceil(np.clip(np.log(end) - np.log(first), 0.0, np.log(_LONGEST)) / np.log(_FACTOR))
    factors = _FACTOR ** np.arange(n_steps + 1.0)
    return end / factors[::-1] if end <= _LONGEST * first else np.append(first * factors, end)


def _hardly_weighs(objective: Objective) -> bool:
    """Whether the penalty is small by the side of the loss for every feature: its curvature, and its slope."""
    variance = objective.design.variance
    least = float(variance.min(initial=np.inf, where=variance > 0.0))
    return objective.l2_weight <= _SMALL * least and objective.l1_weight <= _SMALL * np.sqrt(least)


class _Walk:
    """Where to start for the next C: where the last one ended, or further on as the logarithm of C goes, halfway
    between the line through the last two and the parabola through the last three. With features that separate the
    classes the coefficients follow it on and on. (Digits, 10 values of C, 5 folds: 804 iterations on the line, 846 on
    the parabola, 706 halfway; standardised 810, 740 and 653.)"""

    def __init__(self, start: np.ndarray) -> None:
        self._thetas = [start]
        self._logs: list[float] = []

    def starts(self, C: float) -> tuple[np.ndarray, np.ndarray | None]:
        thetas, logs, log_C = self._thetas, self._logs, float(np.log(C))
        if len(logs) < 2 or np.isinf(C) or not np.all(np.diff([*logs, log_C]) > 0.0):
            return thetas[-1], None
        slopes = [(thetas[i + 1] - thetas[i]) / (logs[i + 1] - logs[i]) for i in range(len(logs) - 1)]
        guess = thetas[-1] + (log_C - logs[-1]) * slopes[-1]
        if len(slopes) > 1:
            bend = (slopes[1] - slopes[0]) / (logs[2] - logs[0])
            guess += 0.5 * (log_C - logs[2]) * (log_C - logs[1]) * bend
        return thetas[-1], guess

    def went_to(self, C: float, theta: np.ndarray) -> None:
        kept = self._thetas[-2:] if self._logs else []
        self._thetas, self._logs = [*kept, theta], [*self._logs[-2:], float(np.log(C))]
