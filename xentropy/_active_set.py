"""Minimisation with an L1 term: bounds find which entries are not zero, and then these have a preconditioner of their
own as long as they keep their signs.

Both ways rest on L-BFGS-B. With theta = p - q and p, q >= 0 the L1 term is linear (`PositiveNegative`). It is linear
too on the face of an orthant, where the signs of the nonzero entries are fixed, so any preconditioner will do there
(`OrthantFace`; Andrew & Gao, 2007, ICML, 33-40, go from orthant to orthant in each step).
"""

from __future__ import annotations

from math import inf

import numpy as np
from scipy.optimize import Bounds

from ._lbfgs import ROUNDING, Minimisation, Run, Solution, Status
from ._preconditioner import Diagonal, Preconditioner
from ._preconditioning import HARDLY_CHANGED, Preconditioning

# Of more entries than this only a working set moves: entries whose gradient is this near to the penalty, or beyond it,
# may join. (text and embeddings_2e3x512_100 with an L1 penalty: 15 % fewer evaluations than at the penalty itself)
_WORKING_SET, _NEARLY_VIOLATED = 4000, 0.9
# A face is tried after _STEADY iterations without a sign change. After _MAX_FACES of them the bounds find a better one,
# with twice the patience. (breast_cancer and digits with an L1 penalty)
_STEADY, _MAX_FACES = 4, 16


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
        self._l1 = preconditioner.to_theta(l1)  # |theta_j| = |x_j| / L_j

    def start(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        v, slope = self.preconditioner.to_x(theta), np.abs(self.preconditioner.to_gradient(grad))
        self._moving = np.arange(len(v))
        if len(v) > _WORKING_SET:
            moves = (v != 0.0) | (self._l1 == 0.0)
            violating = np.flatnonzero(~moves & (slope > _NEARLY_VIOLATED * self._l1))
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

    def restrict(self, run: Run) -> None:
        return None

    def _difference(self, x: np.ndarray) -> np.ndarray:
        m = len(self._moving)
        v = np.zeros(len(self._l1))
        v[self._moving] = x[:m] - x[m:]
        return v


class OrthantFace:
    """x = L^T theta for the entries that are not zero and those that violate their optimality conditions, as long as
    none changes its sign.

    Parameters
    ----------
    m : Minimisation
        Where the face is.
    diagonal : Diagonal
        In its variables the violations are measured.
    preconditioning : Preconditioning
    most_new : int
        At most this many of the zeros move, those with the largest violations. Together they may push each other back.
    """

    bounds: Bounds | None = None

    def __init__(self, m: Minimisation, diagonal: Diagonal, preconditioning: Preconditioning, most_new: int) -> None:
        assert m.l1 is not None
        theta, self._l1, self._diagonal, self._grad = m.at.theta, m.l1, diagonal, m.grad
        moves = (theta != 0.0) | (m.l1 == 0.0)
        violation = np.abs(diagonal.to_gradient(self._violation(moves)))
        new = np.argsort(-violation, kind="stable")[: min(most_new, int(np.count_nonzero(violation)))]
        self.n_new = len(new)
        moves[new] = True
        self._is_free, self.free = moves, np.flatnonzero(moves)
        self._slope = (m.l1 * np.where(theta != 0.0, np.sign(theta), -np.sign(m.grad)))[self.free]
        self._preconditioner: Preconditioner = preconditioning.on_face(theta, self.free)

    def start(self, theta: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return self._preconditioner.to_x(theta[self.free])

    def to_theta(self, x: np.ndarray) -> np.ndarray:
        theta = np.zeros(len(self._l1))
        theta[self.free] = self._preconditioner.to_theta(x)
        return theta

    def penalty(self, x: np.ndarray) -> float:
        return float(self._slope @ self._preconditioner.to_theta(x))

    def to_gradient(self, grad: np.ndarray) -> np.ndarray:
        self._grad = grad
        return self._preconditioner.to_gradient(grad[self.free] + self._slope)

    to_gradient_again = to_gradient

    def norms(self, x: np.ndarray, gradient: np.ndarray) -> tuple[float, float]:
        others, reachable = self._diagonal.to_gradient(self._violation(self._is_free)), float(gradient @ gradient)
        return float(np.sqrt(others @ others + reachable)), float(np.sqrt(reachable))

    def restrict(self, run: Run) -> Status | None:
        """Where entries have changed their sign, make them zero: all of them, or if that is not better the first on the
        way, where the value is lower, because it is convex."""
        at, before, after = run.of.at, run.of.at.theta, run.theta
        crossed = self.free[after[self.free] * self._slope < 0.0]
        if not len(crossed):
            return None
        run.move_to(_with_zeros(after, crossed))
        if run.value > at.value:
            on_the_way = before[crossed] / (before[crossed] - after[crossed])
            first = on_the_way.min()
            if first == 0.0:
                return Status.FACE_LEFT
            run.move_to(_with_zeros(before + first * (after - before), crossed[on_the_way == first]))
        return Status.FACE_LEFT if run.value > at.value + ROUNDING * abs(at.value) else Status.SIGN_CHANGED

    def _violation(self, moves: np.ndarray) -> np.ndarray:
        """By how much the gradient of the entries that do not move exceeds the penalty."""
        violation = np.maximum(np.abs(self._grad) - self._l1, 0.0)
        violation[moves] = 0.0
        return violation


def minimise_l1(m: Minimisation, preconditioning: Preconditioning, within_bounds: PositiveNegative) -> Solution:
    """Minimise from where `m` has begun: within bounds, and on faces as long as these bring it further."""
    n_faces, most_new, steady = 0, m.at.theta.size, _STEADY
    coordinates: PositiveNegative | OrthantFace = within_bounds
    while True:
        on_face = isinstance(coordinates, OrthantFace)
        if isinstance(coordinates, PositiveNegative):
            ended, is_stuck = m.run(coordinates, _FaceIsSteady(preconditioning, steady)), False
        else:
            ended, n_faces = m.run(coordinates, _FaceIsSlow(preconditioning, len(coordinates.free))), n_faces + 1
            is_stuck = ended is Status.STALLED or (ended is Status.FACE_LEFT and not coordinates.n_new)
            most_new = coordinates.n_new // 2 if ended is Status.FACE_LEFT else max(1, 2 * most_new)
            ended = Status.RENEW if ended is Status.SUBSPACE_EXHAUSTED else ended
        if is_stuck or (on_face and n_faces % _MAX_FACES == 0 and ended in (Status.RENEW, Status.SIGN_CHANGED)):
            coordinates, steady = within_bounds, 2 * steady
        elif ended in (Status.RENEW, Status.SIGN_CHANGED, Status.FACE_LEFT):
            coordinates = OrthantFace(m, within_bounds.preconditioner, preconditioning, most_new)
        elif ended is not Status.SUBSPACE_EXHAUSTED:
            return m.solution(ended)


class _FaceIsSteady:
    """Ends a run within bounds once the signs have not changed for a while and a preconditioner of the face pays."""

    def __init__(self, preconditioning: Preconditioning, steady: int) -> None:
        self._preconditioning, self._steady = preconditioning, steady
        self._signs, self._unchanged = np.empty(0), 0

    def __call__(self, run: Run) -> Status | None:
        signs = np.sign(run.theta)
        self._unchanged = self._unchanged + 1 if np.array_equal(signs, self._signs) else 0
        self._signs = signs
        if self._unchanged < self._steady:
            return None
        cost = self._preconditioning.face_cost(int(np.count_nonzero(signs)))
        return run.renewal_pays(cost, use_second_half=False) if run.n_evaluations >= cost else None


class _FaceIsSlow:
    """Ends a run on a face where another preconditioner of it pays."""

    def __init__(self, preconditioning: Preconditioning, n_free: int) -> None:
        self._cost = preconditioning.face_cost(n_free)

    def __call__(self, run: Run) -> Status | None:
        if run.n_evaluations < self._cost or run.start_value - run.value < HARDLY_CHANGED * run.start_value:
            return None
        return run.renewal_pays(self._cost, use_second_half=False)


def _with_zeros(theta: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    theta = theta.copy()
    theta[zeros] = 0.0
    return theta
