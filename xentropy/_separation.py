"""Whether a fit without a penalty has no minimum, because some rows are separated from the others.

The loss of a row decreases as the logit of its class y grows by the side of another's, k. So it decreases without end
along a direction (V, c) in which no margin (v_y - v_k) x + c_y - c_k of a row is negative and some are positive; and
where there is none, the cross-entropy has a minimum (Albert & Anderson, 1984, Biometrika 71(1), 1-10). A linear program
finds it: the largest sum of the margins of which none is negative (Konis, 2007, Linear programming algorithms for
detecting separated data, University of Oxford). It begins with few of the margins, and takes in those that its solution
makes negative, until there are none.

Three cases take no linear program. Where every margin is positive, the coefficients themselves are such a direction.
And there is none where the margins add up to zero with positive weights, in every direction. The probabilities of the
wrong classes are such weights at a minimum of the cross-entropy, and after a step of Newton's near it. With many
coefficients, the part of them that moves no margin of a row in doubt is tried: a fit goes that way once all else is at
its minimum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from ._blas import one_blas_thread
from ._design import Design
from ._messages import plain
from ._targets import Target

# With more coefficients a linear program takes seconds, and what the fit has done must show the direction. With many
# more, the eigenvectors of their products take seconds too, so that only a separation of all rows is found.
_MAX_COEFFICIENTS, _MAX_PROJECTED = 150, 600
# A row is in doubt of a wrong class that has this probability: the first of these with which a direction is found.
_IN_DOUBT = (0.1, 1e-2, 1e-3, 1e-4, 1e-5)
# Eigenvalues below this share of the largest are zero.
_NULL = 1e-12
# With no square of a pivot of Cholesky below this share of the largest, no eigenvalue is zero.
_REGULAR = 1e-9
# Margins, for each coefficient, with which the linear program begins, and that join it in each round at most.
_MARGINS_FOR_EACH = 3
# HiGHS satisfies conditions within this, where no coefficient of a standardised feature is above 1. A margin is
# negative beyond ten times it, and positive beyond a thousand times it.
_ACCURACY = 1e-9
# Rows of next to no weight may be any number of standard deviations away, but HiGHS refuses numbers above 1e15, and is
# at a loss before. A feature has a larger unit if it has larger numbers than these, which are those that a million rows
# of equal weight may have.
_LARGEST = 1e3
# A weight may change by this share of itself, and smaller ones than the least are lost in rounding.
_MAX_CHANGE, _LEAST_WEIGHT = 0.5, 1e-12
# Features that a message names.
_MOST_NAMED = 3


@dataclass(frozen=True)
class Separation:
    """A direction in which the loss decreases without end.

    Attributes
    ----------
    coef : float64 ndarray of shape (D, K)
        Change of each logit with each standardised feature. The changes of a feature sum to zero.
    classes : int64 ndarray
        Indices of the classes whose logits the direction moves apart in some row.
    n_rows, n_moved : int
        Rows with weight, and those of them whose loss decreases.
    is_perfect : bool
        Whether in each row the logit of its class grows by the side of every other.
    """

    coef: np.ndarray
    classes: np.ndarray
    n_rows: int
    n_moved: int
    is_perfect: bool

    def message(self, classes: np.ndarray, feature_names: Sequence[str]) -> str:
        """What the direction means, with the names of the classes and of the features that change most."""
        towards, change = self.coef.argmax(axis=1), self.coef.max(axis=1)
        largest = [j for j in np.argsort(-change, kind="stable")[:_MOST_NAMED] if change[j] > 0.01 * change.max()]
        named = ", ".join(f"{feature_names[j]} towards class {classes[towards[j]]}" for j in largest)
        more = int(np.sum(change > 0.01 * change.max(initial=0.0))) - len(largest)
        along = (f"{named} and {more} more features" if more else named) or "the intercepts"
        how = "perfectly separable" if self.is_perfect else "separable, at least in part"
        return (
            f"C is infinite, and the classes {plain(classes[self.classes])} are {how}: the larger the coefficients "
            f"along {along}, the smaller the loss, without end. It decreases for {self.n_moved} of {self.n_rows} "
            "rows and increases for none. The coefficients are those where the fit stopped. Set a finite C."
        )


@one_blas_thread()
def find_separation(design: Design, target: Target, theta: np.ndarray) -> Separation | None:
    """A direction in which the loss of `target` decreases without end. None if there is none, or if a target names
    several classes. It may be None where only some rows are separated, if there are more than _MAX_COEFFICIENTS
    coefficients, or numbers over more decades than the linear program can tell apart.

    Parameters
    ----------
    design : Design
    target : Target
        Of its rows.
    theta : float64 ndarray
        Where a fit without a penalty has ended.
    """
    if not design.has_hard_labels:
        return None
    margins = _Margins(design, target)
    direction = margins.standardised(theta)
    if not margins.least(direction, 1, np.nextafter(0.0, 1.0)).size:
        return margins.separation(direction)
    if margins.n_variables > _MAX_COEFFICIENTS:
        projected = margins.away_from_doubt(theta) if margins.n_variables <= _MAX_PROJECTED else None
        return None if projected is None else margins.separation(projected)
    if margins.add_up_to_zero(theta):
        return None
    n_new, taken = _MARGINS_FOR_EACH * margins.n_variables, np.empty((0, margins.n_variables))
    below = np.inf
    while len(new := margins.least(direction, n_new, below)):
        taken, below = np.vstack([taken, new]), -10.0 * _ACCURACY
        widest = margins.widest(taken)
        if widest is None or margins.sum(widest) <= 1000.0 * _ACCURACY:
            return None
        direction = widest
        if (taken @ direction[:, 1:].ravel()).min() < below:  # not as accurate as promised: it would go on for ever
            return None
    return margins.separation(direction)


class _Margins:
    """Differences of the logit of a row's class and another's, along directions of shape (size, K) for standardised
    features. The logit of the first class does not change."""

    def __init__(self, design: Design, target: Target) -> None:
        self._design, self._labels = design, np.asarray(target.labels)
        self._scale = np.sqrt(np.where(design.variance > 0.0, design.variance, 1.0))
        if design.row_weight is not None and design.row_weight.sum() > _LARGEST**2 * design.least_weight:
            for at, _ in design.blocks():
                largest = np.abs(design.rows(at)[:, : design.n_features]).max(axis=0, initial=0.0)
                np.maximum(self._scale, largest / _LARGEST, out=self._scale)
        if design.fit_intercept:
            self._scale = np.append(self._scale, 1.0)
        self._shape = len(self._scale), design.n_classes
        self.n_variables = self._shape[0] * (design.n_classes - 1)
        self._total: np.ndarray | None = None

    def standardised(self, theta: np.ndarray) -> np.ndarray:
        """theta as a direction."""
        direction = np.zeros(self._shape)
        coef = theta.reshape(-1, self._design.n_outputs) * self._scale[:, None]
        direction[:, -coef.shape[1] :] = coef
        return direction - direction[:, :1]

    def add_up_to_zero(self, theta: np.ndarray) -> bool:
        """Whether all margins add up to zero in every direction, with weights near the probabilities p of the wrong
        classes at theta: p (1 - H^-1 g margin), where g and H are the sums of p margin and of its square."""
        least, gradient, hessian = self._weighted(theta)
        if least < _LEAST_WEIGHT:
            return False
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        return not self.least(-self._direction(step), 1, -_MAX_CHANGE).size

    def away_from_doubt(self, theta: np.ndarray) -> np.ndarray | None:
        """The part of theta that changes no margin of a row in doubt, if it makes some larger and none smaller."""
        along = self.standardised(theta)[:, 1:].T.ravel()
        for doubt in _IN_DOUBT:
            least, _, squares = self._weighted(theta, doubt)
            if least >= doubt or _is_regular(squares):  # and even more so with more rows
                return None
            values, vectors = np.linalg.eigh(squares)
            free = vectors[:, values <= _NULL * values[-1]]
            direction = self._direction(free @ (along @ free))
            if direction.any():
                direction /= np.abs(direction).max()
                is_wider = self.sum(direction) > 1000.0 * _ACCURACY
                if is_wider and not self.least(direction, 1, -10.0 * _ACCURACY).size:
                    return direction
        return None

    def _weighted(self, theta: np.ndarray, doubt: float = 0.0) -> tuple[float, np.ndarray, np.ndarray]:
        """The least probability p of a wrong class at theta, and the sums of p margin (n_variables,) and of its square
        (n_variables, n_variables), class by class, of those p that are not below `doubt`."""
        size, K = self._shape
        least, gradient, hessian = 1.0, np.zeros((K, size)), np.zeros((K - 1, size, K - 1, size))
        for at, weight in self._design.blocks():
            rows, labels = self._design.rows(at), self._labels[at]
            wrong, place = self._design.probabilities(rows, theta), np.arange(len(labels))
            rows /= self._scale
            wrong[place, labels] = 1.0
            least = min(least, float(wrong.min()))
            wrong[place, labels] = 0.0
            wrong = np.where(wrong >= doubt, weight[:, None] * wrong, 0.0)
            signed = -wrong
            signed[place, labels] = wrong.sum(axis=1)
            gradient += signed.T @ rows
            for k in range(1, K):
                hessian[k - 1, :, k - 1] += rows.T @ (np.abs(signed[:, k, None]) * rows)
                own = labels == k
                for j in range(1, K):
                    if j != k:
                        shared = rows[own].T @ (wrong[own, j, None] * rows[own])
                        hessian[k - 1, :, j - 1] -= shared
                        hessian[j - 1, :, k - 1] -= shared
        n = self.n_variables
        return least, gradient[1:].ravel(), hessian.reshape(n, n)

    def _direction(self, variables: np.ndarray) -> np.ndarray:
        """The direction of (n_variables,) numbers that are sorted class by class."""
        size, K = self._shape
        return np.column_stack([np.zeros(size), variables.reshape(K - 1, size).T])

    def widest(self, taken: np.ndarray) -> np.ndarray | None:
        """The direction with the largest sum of all margins of which none in `taken` is negative. None where HiGHS
        finds none: zero is one, but numbers over many decades are too much for its accuracy."""
        found = linprog(
            -self._sums().ravel(), A_ub=-taken, b_ub=np.zeros(len(taken)), bounds=(-1.0, 1.0), method="highs",
            options={"primal_feasibility_tolerance": _ACCURACY, "dual_feasibility_tolerance": _ACCURACY},
        )  # fmt: skip
        if found.x is None:
            return None
        return np.column_stack([np.zeros(self._shape[0]), found.x.reshape(self._shape[0], -1)])

    def sum(self, direction: np.ndarray) -> float:
        """The sum of all margins."""
        return float(np.sum(self._sums() * direction[:, 1:]))

    def least(self, direction: np.ndarray, n: int, below: float) -> np.ndarray:
        """Up to n of the least margins below a number, as rows of what a direction is multiplied with."""
        K = self._shape[1]
        values, found = np.empty(0), np.empty((0, self.n_variables))
        for rows, labels in self._blocks():
            of_row = self._of(rows, labels, direction)
            at, k = np.nonzero(of_row < below)
            few = np.argsort(of_row[at, k], kind="stable")[:n]
            at, k = at[few], k[few]
            of_class = np.zeros((len(at), len(self._scale), K))
            of_class[np.arange(len(at)), :, labels[at]] += rows[at]
            of_class[np.arange(len(at)), :, k] -= rows[at]
            values = np.concatenate([values, of_row[at, k]])
            found = np.vstack([found, of_class[:, :, 1:].reshape(len(at), self.n_variables)])
            few = np.argsort(values, kind="stable")[:n]
            values, found = values[few], found[few]
        return found

    def separation(self, direction: np.ndarray) -> Separation:
        direction = direction / np.abs(direction).max()
        n_rows, n_moved, is_perfect = 0, 0, True
        moved = np.zeros((self._shape[1], self._shape[1]), dtype=bool)
        for rows, labels in self._blocks():
            wider = self._of(rows, labels, direction) > 1000.0 * _ACCURACY  # infinity at a row's own class
            is_perfect &= bool(wider.all())
            wider[np.arange(len(labels)), labels] = False
            np.logical_or.at(moved, labels, wider)
            n_rows, n_moved = n_rows + len(labels), n_moved + int(wider.any(axis=1).sum())
        coef = np.zeros((self._design.n_columns, self._shape[1]))
        coef[self._design.columns] = direction[: self._design.n_features]
        coef -= coef.mean(axis=1, keepdims=True)
        return Separation(coef, np.flatnonzero(moved.any(axis=0) | moved.any(axis=1)), n_rows, n_moved, is_perfect)

    def _sums(self) -> np.ndarray:
        """What a direction is multiplied with in the sum of all margins."""
        if self._total is None:
            total = np.zeros(self._shape)
            for rows, labels in self._blocks():
                times = np.full((len(labels), self._shape[1]), -1.0)
                times[np.arange(len(labels)), labels] += self._shape[1]
                total += rows.T @ times
            self._total = total[:, 1:]
        return self._total

    def _of(self, rows: np.ndarray, labels: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The margins of rows (n, K), infinite for the class of the row itself."""
        logits, at = rows @ direction, np.arange(len(labels))
        margins = logits[at, labels][:, None] - logits
        margins[at, labels] = np.inf
        return margins

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Standardised rows that have weight, and their labels."""
        for at, _ in self._design.blocks():
            yield self._design.rows(at) / self._scale, self._labels[at]


def _is_regular(squares: np.ndarray) -> bool:
    """Whether a sum of squares is positive in every direction, by far."""
    try:
        pivots = np.diag(np.linalg.cholesky(squares))
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() > np.sqrt(_REGULAR) * pivots.max())
