"""Minimisation with an L1 term: within bounds, of a working set of the entries, and by proximal Newton where a Hessian
pays.

With theta = p - q and p, q >= 0 the L1 term is linear, so L-BFGS-B minimises it (`PositiveNegative`).
"""

from __future__ import annotations

from math import inf

import numpy as np
from scipy.optimize import Bounds

from ._lbfgs import Check, Coordinates, Minimisation, Run, Solution, Status
from ._preconditioner import Diagonal
from ._preconditioning import AT_ONCE, Preconditioning
from ._proximal_newton import NEARLY_VIOLATED, entries_to_move, proximal_newton

# Of more entries than this only a working set moves.
_WORKING_SET = 4000


class PositiveNegative:
    """x = (p, q) with L^T theta = p - q, for a diagonal preconditioner; p and q >= 0 where there is an L1 term.

    Of many entries only a working set moves: those that are not zero, and at least as many of the others, those that
    violate their optimality conditions most. The rest wait for the next run.

    Parameters
    ----------
    preconditioner : Diagonal
    l1 : float64 ndarray
        Weights of |theta_j|.
    """

    def __init__(self, preconditioner: Diagonal, l1: np.ndarray) -> None:
        self.preconditioner = preconditioner
        scale = preconditioner.to_x(np.ones(len(l1)))  # |theta_j| = |x_j| / scale_j where there is a penalty
        self._l1 = np.divide(l1, scale, out=np.zeros(len(l1)), where=l1 > 0.0)

    def start(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        v, slope = self.preconditioner.to_x(theta), np.abs(self.preconditioner.to_gradient(grad))
        self._moving = np.arange(len(v))
        if len(v) > _WORKING_SET:
            moves = (v != 0.0) | (self._l1 == 0.0)
            violating = np.flatnonzero(~moves & (slope > NEARLY_VIOLATED * self._l1))
            n_new = max(_WORKING_SET // 2, int(moves.sum()))
            if len(violating) > n_new:
                violation = slope[violating] / self._l1[violating]
                violating = violating[np.argpartition(violation, -n_new)[-n_new:]]
            moves[violating] = True
            self._moving = np.flatnonzero(moves)
        v, penalised = v[self._moving], self._l1[self._moving] > 0.0
        self.bounds = Bounds(
            np.concatenate([np.where(penalised, 0.0, -inf), np.zeros(len(v))]),
            np.concatenate([np.full(len(v), inf), np.where(penalised, inf, 0.0)]),
        )
        p, q = np.maximum(v, 0.0), np.maximum(-v, 0.0)
        return np.concatenate([np.where(penalised, p, v), np.where(penalised, q, 0.0)])

    def to_theta(self, x: np.ndarray) -> np.ndarray:
        return self.preconditioner.to_theta(self._difference(x))

    def penalty(self, x: np.ndarray) -> float:
        m = len(self._moving)
        return float(self._l1[self._moving] @ (x[:m] + x[m:]))

    def to_gradient(self, grad: np.ndarray) -> np.ndarray:
        self._slope = self.preconditioner.to_gradient(grad)
        g, l1 = self._slope[self._moving], self._l1[self._moving]
        return np.concatenate([g + l1, l1 - g])

    to_gradient_again = to_gradient

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        v, g, l1 = self._difference(x), self._slope, self._l1
        shortest = np.where(v == 0.0, np.maximum(np.abs(g) - l1, 0.0), g + np.sign(v) * l1)  # subgradient
        reachable = shortest[self._moving]
        return float(np.sqrt(shortest @ shortest)), float(np.sqrt(reachable @ reachable))

    def _difference(self, x: np.ndarray) -> np.ndarray:
        m = len(self._moving)
        v = np.zeros(len(self._l1))
        v[self._moving] = x[:m] - x[m:]
        return v


def minimise_l1(m: Minimisation, preconditioning: Preconditioning, within_bounds: PositiveNegative) -> Solution:
    """Minimise from where `m` has begun: within bounds, until a Hessian pays and proximal Newton goes on."""
    l1 = m.l1
    assert l1 is not None

    def ends(run: Run) -> Status | None:
        if (stalled := check.gives_up(run)) is not None:
            return stalled
        _, cost = entries_to_move(l1, run.theta, run.grad, preconditioning, run.n_evaluations)
        return run.renewal_pays(cost) if run.n_evaluations >= cost else None

    def here() -> tuple[list[Coordinates], list[Coordinates]]:
        of_all, but_for_few_rows = preconditioning.diagonals_here(m.at.theta)
        return [PositiveNegative(p, l1) for p in of_all], [PositiveNegative(p, l1) for p in but_for_few_rows]

    check = Check(m, here)
    m.at.gradient_norm = m.relative(m.norm(within_bounds), m.at.value)
    if (solved := m.ends(moved=False)) is not None:
        return m.solution(solved)
    coordinates: Coordinates = within_bounds
    _, cost = entries_to_move(l1, m.at.theta, m.grad, preconditioning, 0)
    ended = Status.RENEW if cost <= AT_ONCE else m.run(coordinates, ends)
    while True:
        if ended is Status.RENEW and (ended := proximal_newton(m, preconditioning)) is not Status.RENEW:
            continue
        if ended not in (Status.RENEW, Status.SUBSPACE_EXHAUSTED):
            further = check.after(ended)
            if further is None:
                return m.solution(check.status)
            coordinates = further
        ended = m.run(coordinates, ends)
