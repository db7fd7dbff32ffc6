"""Minimise an objective: where to start, in which preconditioned variables and precision, and when to change them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

import numpy as np

from ._active_set import PositiveNegative, minimise_l1
from ._blas import one_blas_thread
from ._gradient_subspace import MANY_VARIABLES, N_AXES, GradientSubspace
from ._lbfgs import LEAST_VALUE, Check, Coordinates, Minimisation, Preconditioned, Progress, Run, Solution, Status
from ._objective import Objective
from ._preconditioner import Preconditioner
from ._preconditioning import Preconditioning

# The minimum of a subsample differs by about a percent of the value, so no more is asked for, and it is not worth more
# iterations than this. (3e5x37_6, land_cover)
_SUBSAMPLE_TOL, _MAX_SUBSAMPLE_ITER = 0.02, 12
# Where each evaluation reads rows that are not in memory, iterations on the sample of them take next to no time: with
# 0.02 seven problems took 4 to 12 evaluations, with 0.002 3 to 5.
_SAMPLE_TOL, _MAX_SAMPLE_ITER = 0.002, 200


def minimise(
    objective: Objective,
    theta: np.ndarray,
    *,
    tol: float,
    max_iter: int,
    monitor: Callable[[Progress], Status | None] | None = None,
    preconditioning: Preconditioning | None = None,
    guess: np.ndarray | None = None,
    share: float = 0.0,
    loosest: float = inf,
    from_subsample: bool = False,
) -> Solution:
    """Minimise `objective` from `theta` until the gradient is no longer than `tol` times the value.

    The gradient is measured in preconditioned variables, in which the curvature is about one. There half its square is
    about the distance of the value from its minimum. So `tol` bounds the error of the value relatively: to about tol^2
    where the curvature has kept its size, and to tol where it has shrunk with the value. Neither depends on the units
    of the features, nor on how many rows, features or classes there are.

    Parameters
    ----------
    objective : Objective
    theta : float64 ndarray
        Where to start.
    tol : float
    max_iter : int
        Most iterations of L-BFGS on all rows.
    monitor : callable, optional
        Called after each iteration with a `Progress`. Unless it returns None, the minimisation ends with that status.
    preconditioning : Preconditioning, optional
        The `Preconditioning` of an earlier minimisation of `objective` with another penalty.
    guess : float64 ndarray, optional
        The start is there if the value is lower than at theta.
    share, loosest : float
        A gradient of this share of its length at theta is short enough, if it is within `loosest` too: for a theta that
        solves a similar problem, where only the difference matters.
    from_subsample : bool
        Start at the minimum for a subsample of the rows, with its Hessian, where that pays. Its iterations and
        evaluations are not counted.

    References
    ----------
    Byrd, Lu, Nocedal & Zhu (1995), A limited memory algorithm for bound constrained optimization, SIAM J. Sci. Comput.
    16(5), 1190-1208.
    """
    preconditioning = preconditioning or Preconditioning(objective)
    l1 = objective.l1_weights()
    m = Minimisation(
        objective,
        theta,
        tol=tol,
        max_iter=max_iter,
        monitor=monitor,
        l1=l1,
        low_precision=partial(objective, precision="float32") if l1 is None and objective.design.float32_pays else None,
        resolution=objective.resolution,
        least_value=_least_value(objective),
    )
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # no step is taken that far
        try:
            if from_subsample and max_iter:
                m.at.theta = _minimum_of_subsample(objective, preconditioning, theta, tol)
            m.begin()
            value, grad = m.at.value, m.grad
            if guess is not None and not _seems_solved(m, preconditioning):
                m.try_start(guess)
            coordinates: Preconditioned | GradientSubspace | PositiveNegative
            if l1 is not None:
                coordinates = PositiveNegative(preconditioning.diagonal(), l1)
            elif len(theta) < MANY_VARIABLES:
                coordinates = Preconditioned(preconditioning.start(m.at.theta))
            else:
                coordinates = GradientSubspace(preconditioning.start(m.at.theta), N_AXES)
            if share > 0.0:
                norm, _ = coordinates.norms(coordinates.start(theta, grad), coordinates.to_gradient(grad))
                m.tol = max(tol, min(loosest, share * m.relative(norm, value)))
            if isinstance(coordinates, PositiveNegative):
                return minimise_l1(m, preconditioning, coordinates)
            return minimise_smooth(m, preconditioning, coordinates)
        except KeyboardInterrupt:
            return m.solution(Status.INTERRUPTED)


def minimise_smooth(
    m: Minimisation, preconditioning: Preconditioning, coordinates: Coordinates
) -> Solution:
    """Minimise without an L1 term: change to a better preconditioner where what was spent would have paid for it and
    what is left will."""

    def ends(run: Run) -> Status | None:
        if (stalled := check.gives_up(run)) is not None:
            return stalled
        return run.renewal_pays(preconditioning.cost_of_renewal(run.n_evaluations))

    def here() -> tuple[list[Coordinates], list[Coordinates]]:
        of_all, but_for_few_rows = preconditioning.diagonals_here(m.at.theta)
        hessian = preconditioning.hessian_here(m.at.theta) if of_all else []
        return list(map(of, [*hessian, *of_all])), list(map(of, but_for_few_rows))

    def of(preconditioner: Preconditioner) -> Coordinates:
        return GradientSubspace(preconditioner, N_AXES) if in_subspace else Preconditioned(preconditioner)

    in_subspace = isinstance(coordinates, GradientSubspace)
    check = Check(m, here)
    further: Coordinates | None = coordinates
    while further is not None:
        coordinates, before = further, m.at.n_evaluations
        ended = m.run(coordinates, ends)
        preconditioning.count(m.at.n_evaluations - before)
        if ended is Status.RENEW:
            further = Preconditioned(preconditioning.renewed(m.at.theta))
        elif ended is Status.SUBSPACE_EXHAUSTED:
            assert isinstance(coordinates, GradientSubspace)
            further = Preconditioned(coordinates.preconditioner)
        else:
            further = check.after(ended)
    return m.solution(check.status)


def _least_value(objective: Objective) -> float:
    """A mean loss below which nothing is left. It falls with the least weight of a row beside the mean, as the loss
    of light rows is part of what is asked for."""
    design = objective.design
    return LEAST_VALUE * min(1.0, design.least_weight * (design.n_rows / design.weight_sum))


def _minimum_of_subsample(
    objective: Objective, preconditioning: Preconditioning, theta: np.ndarray, tol: float
) -> np.ndarray:
    """About the minimum for a subsample of the rows, whose Hessian there the preconditioning learns. theta itself if
    there is no subsample, or if it has no minimum."""
    design = preconditioning.subsample()
    if design is None:
        return theta
    few = Objective(design, C=objective.C * objective.design.weight_sum / design.weight_sum)
    subsample_tol, max_iter = _SUBSAMPLE_TOL, _MAX_SUBSAMPLE_ITER
    if objective.design.overhead:
        has_all = design.n_rows == objective.design.n_rows  # some iterations are left to the fit and its history
        subsample_tol, max_iter = min(_SAMPLE_TOL, 10.0 * tol) if has_all else _SAMPLE_TOL, _MAX_SAMPLE_ITER
    found = minimise(
        few,
        theta,
        tol=subsample_tol,
        max_iter=max_iter,
        monitor=lambda at: Status.SEPARATED if few.is_separated(at.value) else None,
    )
    if found.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    if found.status is Status.SEPARATED:
        return theta
    preconditioning.learn(found.theta, design)
    return found.theta


def _seems_solved(m: Minimisation, preconditioning: Preconditioning) -> bool:
    """Whether the gradient is within `tol` in the variables of the last minimisation, of a similar problem."""
    if preconditioning.current is None or m.l1 is not None:
        return False
    gradient = preconditioning.current.to_gradient(m.grad)
    return m.relative(float(np.sqrt(gradient @ gradient)), m.at.value) <= m.tol
