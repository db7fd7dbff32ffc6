"""Proximal Newton: minimise a smooth function and an L1 term, step by step through quadratic models.

A step goes towards the minimum of g^T d + d^T B d / 2 + sum_j l1_j |theta_j + d_j|, which says at once which entries
are zero and which signs the others have (Lee, Sun & Saunders, 2014, SIAM J. Optim. 24(3), 1420-1443). B is the Hessian
at an earlier point, with a BFGS update for each step since.
"""

from __future__ import annotations

from math import inf

import numpy as np
from scipy.linalg.blas import dger
from scipy.linalg.lapack import dposv

from ._kernels._coordinate import coordinate_descent
from ._lbfgs import BY_SLOPE, ROUNDING, Minimisation, Status
from ._preconditioning import AT_ONCE, Preconditioning

# Entries whose gradient is this near to the penalty, or beyond it, may soon violate their optimality conditions. (text
# and embeddings_2e3x512_100 with an L1 penalty: 15 % fewer evaluations than at the penalty itself)
NEARLY_VIOLATED = 0.9
# Factors for each Hessian, one for each face of an orthant that it tries. (digits, wine)
_FACTORS_ON_FACES = 20
# A model is minimised until the last faces have added no more than this share of the decrease, and Newton steps on the
# way to a minimum of a face end where the last one has added no more than the second. (digits and wine_raw; log-normal
# features with 20 classes: 5 factors for each model, and not 25)
_ACCURACY, _STEP_ACCURACY = 0.1, 0.02
# Beside a factor of order m coordinate descent makes this share of m sweeps, which take about a third of its time: with
# three times as many it finds no better faces. (log-normal features with 20 classes, digits_raw)
_SWEEPS_PER_FACTOR = 0.02
# A step must take off this share of what the model promises (Nocedal & Wright, 2006, section 3.1), and is no shorter
# than the last number.
_SUFFICIENT, _SHORTEST = 1e-4, 1e-10
# A smaller sum of a block of the Hessian, as a share of its trace, is zero but for rounding.
_NO_CURVATURE = 1e-9


class QuadraticModel:
    """A smooth function near a point, plus an L1 term: a Hessian for some entries of theta, a diagonal for the others.

    Parameters
    ----------
    hessian : float64 ndarray of shape (m, m), C-ordered
        Of theta[entries], which `update` changes.
    entries : int ndarray of shape (m,)
        Ascending.
    diagonal : float64 ndarray
        The curvature of each entry of theta.
    l1 : float64 ndarray
        Weights of |theta_j|.
    n_outputs : int
        theta is (features, outputs), flattened. Where all the outputs of a feature shift together a softmax does not
        change.

    Attributes
    ----------
    n_factors : int
        How many Cholesky factors of the Hessian all minimisations have taken the time of.
    """

    def __init__(
        self, hessian: np.ndarray, entries: np.ndarray, diagonal: np.ndarray, l1: np.ndarray, n_outputs: int
    ) -> None:
        self._hessian, self._entries, self._l1, self.n_factors = hessian, entries, l1[entries], 0
        self._others = np.ones(len(l1), dtype=bool)
        self._others[entries] = False
        self._diagonal, self._others_l1 = diagonal[self._others], l1[self._others]
        self._together = _without_curvature(hessian, entries // n_outputs, n_outputs)
        self._penalised_together = self._together[(self._l1[self._together] > 0.0).all(axis=1)]

    def minimise(self, theta: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray, float]:
        """The minimum of the model whose gradient at theta is `grad`, and how far it is below the value at theta."""
        z, slope = theta.copy(), grad[self._others]
        target = self._diagonal * theta[self._others] - slope
        z[self._others] = np.sign(target) * np.maximum(np.abs(target) - self._others_l1, 0.0) / self._diagonal
        step = z[self._others] - theta[self._others]
        decrease = -step @ (slope + 0.5 * self._diagonal * step)
        decrease += self._others_l1 @ (np.abs(theta[self._others]) - np.abs(z[self._others]))
        z[self._entries], of_entries = self._minimise_entries(theta[self._entries], grad[self._entries])
        return z, float(decrease) + of_entries

    def update(self, step: np.ndarray, change: np.ndarray) -> None:
        """Give the Hessian the curvature along `step` that the change of the gradient shows (BFGS)."""
        s, y = step[self._entries], change[self._entries]
        Bs = self._hessian @ s
        before, seen = float(s @ Bs), float(s @ y)
        if seen > ROUNDING * before > 0.0:
            dger(1.0 / seen, y, y, a=self._hessian.T, overwrite_a=1)
            dger(-1.0 / before, Bs, Bs, a=self._hessian.T, overwrite_a=1)

    def _minimise_entries(self, theta: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray, float]:
        """A Newton step on the face of an orthant where theta is, and then by turns coordinate descent, to a better
        face, and Newton steps to the minimum there."""
        z, slope = theta.copy(), grad.copy()

        def decrease() -> float:
            return float(self._l1 @ (np.abs(theta) - np.abs(z)) - 0.5 * (grad + slope) @ (z - theta))

        n_sweeps = 2 + int(_SWEEPS_PER_FACTOR * len(z))
        is_minimum, reached = self._newton_step(z, slope), decrease()
        for _ in range(len(z) + 1):
            signs, before = np.sign(z), reached
            coordinate_descent(self._hessian, self._l1, z, slope, n_sweeps)
            self.n_factors += 1
            self._shift(z)
            if is_minimum and np.array_equal(np.sign(z), signs):
                break
            for _ in range(2 * len(z)):
                is_minimum, last, reached = self._newton_step(z, slope), reached, decrease()
                if is_minimum or reached - last <= _STEP_ACCURACY * reached:
                    break
            if reached - before <= _ACCURACY * reached:
                break
        return z, decrease()

    def _newton_step(self, z: np.ndarray, slope: np.ndarray) -> bool:
        """Go to the minimum over the entries that are not zero, or to the lowest point on the way there if some change
        their signs. Whether none did."""
        B, l1 = self._hessian, self._l1
        free = np.flatnonzero((z != 0.0) | (l1 == 0.0))
        if not len(free):
            return True
        of_free = slope[free] + np.sign(z[free]) * l1[free]
        rows = B[free]
        hessian = rows[:, free]
        self._add_curvature(hessian, free)
        _, step, failed = dposv(hessian.T, -of_free, overwrite_a=1)
        self.n_factors += 1
        if failed:
            return True
        change = step @ rows
        t, zeros = line_minimum(z[free], step, l1[free], float(step @ of_free), float(step @ change[free]))
        z[free] += t * step
        z[free[zeros]] = 0.0
        slope += t * change
        return t == 1.0

    def _shift(self, z: np.ndarray) -> None:
        """Shift all outputs of a feature together to where the L1 term is least: their median to zero."""
        of_feature = z[self._penalised_together]
        K = of_feature.shape[1]
        middle = np.partition(of_feature, [(K - 1) // 2, K // 2], axis=1)[:, [(K - 1) // 2, K // 2]]
        z[self._penalised_together] = of_feature - np.clip(0.0, middle[:, :1], middle[:, 1:])

    def _add_curvature(self, hessian: np.ndarray, free: np.ndarray) -> None:
        """Add to the Hessian of the free entries what it lacks where all outputs of a feature are free."""
        place = np.full(len(self._l1), -1)
        place[free] = np.arange(len(free))
        for at in place[self._together]:
            if (at >= 0).all():
                hessian[np.ix_(at, at)] += hessian[at, at].mean() / len(at)


def proximal_newton(m: Minimisation, preconditioning: Preconditioning) -> Status:
    """Minimise from where `m` is. RENEW where the entries that may move are too many for a Hessian of them; the others
    have a diagonal one.

    A new Hessian is made once as much time has been spent with the last one as that has cost, in evaluations and in
    factors beyond those that each Hessian takes, or where a step finds no decrease.
    """
    assert m.l1 is not None
    at, model, made_at, cost, of_factor, moved, gap = m.at, None, 0, 0.0, 0.0, False, inf
    inverse = np.empty(len(m.l1))
    preconditioning.diagonal().solve(np.ones(len(m.l1)), inverse)
    curvature = 1.0 / inverse
    while True:
        beyond = 0 if model is None else max(0, model.n_factors - _FACTORS_ON_FACES)
        is_new = model is None or at.n_evaluations - made_at + beyond * of_factor >= cost
        if is_new:
            entries, cost = entries_to_move(m.l1, at.theta, m.grad, preconditioning, at.n_evaluations)
            if not np.isfinite(cost):
                return Status.RENEW
            cost = preconditioning.hessian_cost(len(entries))  # the factors are needed for an old one too
            of_factor = preconditioning.factor_cost(len(entries))
            hessian, made_at = preconditioning.hessian_of(at.theta, entries), at.n_evaluations
            model = QuadraticModel(hessian, entries, curvature, m.l1, preconditioning.n_outputs)
        assert model is not None
        last_gap = gap
        minimum, gap = model.minimise(at.theta, m.grad)
        at.gradient_norm = m.relative(float(np.sqrt(2.0 * max(gap, 0.0))), at.value)
        if (ended := m.ends(moved)) is not None:
            return ended
        is_resolved = gap <= ROUNDING * abs(at.value)
        if is_resolved and gap > 0.5 * last_gap:
            return Status.RESOLVED
        found = _line_search(m, minimum, gap)
        moved = found is not None
        if found is not None:
            theta, value, grad = found
            model.update(theta - at.theta, grad - m.grad)
            m.accept(theta, value, grad)
        elif is_new or is_resolved:
            return Status.RESOLVED if is_resolved else Status.STALLED
        else:
            model = None


def _line_search(m: Minimisation, minimum: np.ndarray, gap: float) -> tuple[np.ndarray, float, np.ndarray] | None:
    """A point between the current one and the minimum of the model where the value is low enough, its value, and the
    gradient there; None if there is no such point. The first trial is the minimum. Where the value is too high there,
    and low enough nearer by, points on the way back are tried as long as they are lower: that takes an evaluation, and
    the next model takes some."""
    assert m.l1 is not None
    start, t, theta, too_far = m.at.theta, 1.0, minimum, 1.0
    found: tuple[np.ndarray, float, np.ndarray] | None = None
    by_slope = gap <= BY_SLOPE * abs(m.at.value)
    while t > _SHORTEST:
        value, grad = m.evaluate(theta)
        value += m.l1_term(theta)
        if by_slope:
            above = float(0.5 * (m.grad + grad) @ (theta - start) + m.l1 @ (np.abs(theta) - np.abs(start)))
        else:
            above = value - m.at.value
        if found is not None and not value < found[1]:
            return found
        if above <= -_SUFFICIENT * t * gap:
            found = theta, value, grad
            t *= 2.0
            if by_slope or t >= too_far:
                return found
            theta = start + t * (minimum - start)
            continue
        too_far = t
        # the minimum of the parabola through both values, with the slope that the model promises
        t *= min(0.5, max(0.1, 0.5 * t * gap / (above + t * gap)))
        theta = start + t * (minimum - start)
    return found


def entries_to_move(
    l1: np.ndarray, theta: np.ndarray, grad: np.ndarray, preconditioning: Preconditioning, affordable: float
) -> tuple[np.ndarray, float]:
    """The entries that a Hessian is made of, and what that costs: all of them where this is affordable, or those that
    are not zero and those that may soon not be."""
    cost = preconditioning.hessian_cost(len(l1), _FACTORS_ON_FACES)
    if cost <= max(affordable, AT_ONCE):
        return np.arange(len(l1)), cost
    entries = np.flatnonzero((theta != 0.0) | (np.abs(grad) >= NEARLY_VIOLATED * l1))
    return entries, preconditioning.hessian_cost(len(entries), _FACTORS_ON_FACES)


def line_minimum(
    z: np.ndarray, step: np.ndarray, l1: np.ndarray, slope: float, curvature: float
) -> tuple[float, np.ndarray]:
    """The t in (0, 1] where slope t + curvature t^2 / 2 + sum_j l1_j |z_j + t step_j| is least, and the j that are zero
    there. `slope` includes that of the L1 term at t = 0; without it the minimum is at t = 1."""
    crossing = np.flatnonzero((z * step < 0.0) & (np.abs(step) >= np.abs(z)) & (l1 > 0.0))
    crossing = crossing[np.argsort(z[crossing] / -step[crossing], kind="stable")]
    at = -z[crossing] / step[crossing]
    jumps = np.concatenate([[0.0], np.cumsum(2.0 * l1[crossing] * np.abs(step[crossing]))])
    rising = np.flatnonzero(slope + curvature * at + jumps[1:] >= 0.0)
    if not len(rising):
        return (1.0 if not len(crossing) else min(1.0, -(slope + jumps[-1]) / curvature)), crossing[:0]
    i = rising[0]
    inside = -(slope + jumps[i]) / curvature  # before the i-th is crossed
    return (inside, crossing[:0]) if inside <= at[i] else (float(at[i]), crossing[at == at[i]])


def _without_curvature(hessian: np.ndarray, feature: np.ndarray, n_outputs: int) -> np.ndarray:
    """The places of the outputs of each feature that are all there and have no curvature together: (features, K)."""
    if n_outputs == 1:
        return np.empty((0, 1), dtype=np.intp)
    complete = np.flatnonzero(np.bincount(feature) == n_outputs)
    places = np.searchsorted(feature, complete)[:, None] + np.arange(n_outputs)
    blocks = hessian[places[:, :, None], places[:, None, :]]
    together, trace = blocks.sum(axis=(1, 2)), np.trace(blocks, axis1=1, axis2=2)
    return places[together <= _NO_CURVATURE * trace]
