"""The variables in which a linear softmax model is easy to minimise: what they are made of, and when better ones pay.

They are made of a curvature (`_curvature`, `_variables`), which is found by degrees: its diagonal at the start, the
Gram matrix of the features, the Hessian of each class, that of all classes together. Each says more and takes longer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ._curvature import ROWS_PER_VARIABLE, Curvature
from ._spaces import SAME, steps_remembered
from ._variables import ClassVariables, PackedClassVariables, PackedFactor, Variables

# A factor of the curvature must not cost more than this many evaluations where it may not be needed
_EVALUATIONS_FOR_GRAM = 8.0
_MOST_COUPLED = 4096  # theta that one factor may couple: its matrix holds 128 MB
_MOST_KEPT = 1 << 22  # entries of the Hessians of all classes, which are then kept for another C
_MOST_PACKED = 1 << 26  # ... and of larger ones, of which only the factors are, in 128 MB
# Rows whose curvature is below this share of the mean one are left out of a Hessian
_NEGLIGIBLE = 1e-3
_CHEAP = 4.0  # ... unless all of them take no more than so many evaluations
_NEGLIGIBLE_IN_LARGE = 1.0  # ... and below this share out of the many of a Hessian that is not kept
_MOST_USED = 1 << 23  # rows, over all classes, that such are made of: 12 bytes each
_ITERATIONS_WITH_LARGE = 10  # to expect with them, each of which solves with all factors
# The third such Hessian waits that many times longer, and so on: if two were not enough, the curvature changes on the
# way, and what L-BFGS learns of it counts. 10 000 rows of 256 log-normal features, K = 150: 926 evaluations, not 1833.
# Hessians that are kept do not: fits of heavy-tailed features with large C did not converge within 1000 iterations
_LONGER = 2.0
_RIDGE = 1e-12  # relative to the diagonal of a curvature: above what its factor rounds
_NEARBY = 0.02  # a loss that differs by this share, for another C, has about the same Hessian
# Where features go together (the mean squared eigenvalue of their correlations is one where they do not), a Gram matrix
# of a few rows for each saves more than it takes; elsewhere it took up to twice the time. 20 000 embeddings of 768
# features, two classes, C=100: 354 evaluations without one, 35 with 2 rows for each, 21 with 4, 20 with 8, 16 with all;
# of their signs, C=1, 52 without, 92 with one row for each, 16 with 4. Of 60 000 images, whose border few rows show,
# 207 without, 519 with 11, 200 with 30: so of the rows that tell of a feature there must be enough, 0.9 for each
_CORRELATED, _LEAST_ROWS_PER_FEATURE, _LEAST_TELLING, _EVALUATIONS_FOR_CORRELATED = 2.5, 4, 0.9, 16.0
# ... but with a penalty of which the largest curvature is no more than so many times, some ten evaluations do without
_ENOUGH_PENALTY = 20.0
_OUTPUTS_OF_A_READ = 3  # to read X takes as long as to multiply it for so many outputs
_FALLEN = 0.8  # to this share, and Hessians of classes are found again rather than that of all together
_LEAST_WITH_HESSIAN = 5.0  # ... and so many a fit for another C takes with a Hessian from its start
_RESTART = 4.0  # evaluations that new variables cost L-BFGS


class Conditioned(ABC):
    """A loss with a penalty that knows variables in which its curvature is about one: what the solver asks of a
    `Problem` beside its values, which are those of `LinearObjective`."""

    n_features: int
    n_outputs: int
    fit_intercept: bool
    n_columns: int
    _n: int
    _n_threads: int
    _spread: np.ndarray  # of the features: variances, or mean squares
    _flat: np.ndarray  # features without any
    _prior: np.ndarray  # shares of the classes
    _stored_columns: np.ndarray | slice
    _loss: dict[str, Any]
    # the last evaluation: theta and its gradient, the mean loss there, and the arithmetic
    _last: np.ndarray
    _last_loss: float
    _last_computed: str

    def _start_with(self, curvature: Curvature) -> None:
        """Nothing is known yet but the diagonal."""
        self._curvature = curvature
        self._knows = "diagonal"  # the curvature that the variables are made of
        self.last_variables: Variables | ClassVariables | None = None
        self._hessian: np.ndarray | None = None
        self._hessian_loss = np.inf  # the loss where it was found
        self._used = 1.0  # share of the rows that made the last Hessian of a class
        self._used_by_large, self._used_at = 1.0, np.inf  # by large classes, and the loss where that was estimated
        self._n_large = 0  # so many times since the start they were found
        self._n_starts = 0  # of minimisations without an L1 penalty
        self._n_evaluations = 0.0  # since the last one started, or found better variables

    @property
    @abstractmethod
    def l2_weight(self) -> float: ...

    @abstractmethod
    def l1_weights(self) -> np.ndarray | None: ...

    @property
    @abstractmethod
    def _stored(self) -> int:
        """Values of X."""

    @abstractmethod
    def _loss_and_gradient(self, theta: np.ndarray, compute: str) -> tuple[float, np.ndarray]: ...

    def variables(self, theta: np.ndarray) -> Variables | ClassVariables:
        """Variables in which the curvature at `start` is about the identity.

        There the Hessian is the Gram matrix of the centred features, times the variance of a class indicator, plus the
        penalty: one factor serves all classes. Where even that is dear, its diagonal serves. But where a minimisation
        with another C has asked for the Hessian, this one does as well: for that at theta, if the loss is another. And
        if the last one took longer than a better Hessian would have, this one starts with it; but for the first, which
        had nothing to start with.
        """
        boundless = np.flatnonzero(~np.isfinite(self._spread))
        if len(boundless):
            column = np.arange(self.n_columns)[self._stored_columns][boundless[0]]
            raise ValueError(f"squares of column {column} of X overflow float64: divide it by its largest entry")
        if self.l1_weights() is not None:
            self._n_evaluations = -np.inf  # those of a fit in other variables do not count
            return Variables(np.sqrt(self._diagonal()))
        n_evaluations, self._n_evaluations = self._n_evaluations, 0.0
        if self._knows == "classes" and self._hessian is None:  # it was not kept
            self._knows, self._n_large = "diagonal", 0
        if self._knows == "diagonal" and self._starts_with_gram():
            self._knows = "gram"
        self._n_starts += 1
        if self._n_starts > 2 and n_evaluations >= self._cost_of_better_hessian():
            self._knows = self._next_kind()
            self._find_hessian(theta)
        elif self._hessian is not None:
            loss, _ = self._loss_and_gradient(theta, self._last_computed)
            if abs(loss - self._hessian_loss) > _NEARBY * self._hessian_loss:
                self._find_hessian(theta)
        return self._known_variables()

    def renewal_cost(self, decline: float) -> float:
        """How many evaluations the next `renewed_variables` takes the time of; inf where there is none, or where the
        value has not declined, so that it would find the same Hessian again."""
        if self.l1_weights() is not None or not self._loss["loss"].convex:
            return np.inf  # the Hessian of the cross-entropy, which is all there is, says nothing there
        kind = self._next_kind()
        if kind == self._knows and (kind in ("diagonal", "gram") or decline > SAME):
            return np.inf
        return _RESTART + self._cost_of(kind)

    def renewed_variables(self, theta: np.ndarray) -> Variables | ClassVariables:
        """Better variables than those in use: one step up the ladder, or of the Hessian at theta again."""
        self._n_evaluations = 0.0
        self._knows = self._next_kind()
        if self._knows == "classes" and self._has_large_classes:
            self.last_variables = self._variables_of_large_classes(theta)
            return self.last_variables
        if self._knows in ("classes", "coupled"):
            self._find_hessian(theta)
        return self._known_variables()

    def support_cost(self, n_free: int) -> float:
        """How many evaluations `support_variables` takes the time of."""
        if not self._loss["loss"].convex or n_free > _MOST_COUPLED:
            return np.inf
        n = self._curvature.n_rows(n_free)
        products = n * (0.9 * n_free**2 + 150.0 * (n_free + self.n_features))  # and the rows' blocks, which are dense
        return _RESTART + self._evaluations(products + 0.4 * n_free**3 + 5e6)

    def support_variables(self, theta: np.ndarray, free: np.ndarray) -> Variables:
        """Variables of theta[free], from their Hessian at theta."""
        R = self.n_outputs
        feature = free // R
        hessian = self._curvature.hessian_of_entries(theta, free)
        start = self._diagonal()
        l2 = np.where(feature < self.n_features, self.l2_weight, 0.0)
        hessian.flat[:: len(free) + 1] += l2 + _RIDGE * start[feature]
        if R > 1:  # where all classes shift together the loss has no curvature
            for j in np.flatnonzero(np.bincount(feature) == R):
                together = np.flatnonzero(feature == j)
                hessian[np.ix_(together, together)] += start[j] / R
        return Variables.of_curvature(hessian)

    def learn_hessian(self, few: Conditioned, theta: np.ndarray) -> None:
        """Take the Hessian at theta from few of the rows, for the variables to start with there."""
        few._knows = min(few._hessian_kinds(), key=few._cost_of)
        few._find_hessian(theta)
        self._knows, self._hessian, self._used = few._knows, few._hessian, few._used
        self._hessian_loss, _ = self._loss_and_gradient(theta, self._last_computed)

    def _hessian_kinds(self) -> tuple[str, ...]:
        return ("classes", "coupled") if self.n_outputs > 1 else ("coupled",)

    def _next_kind(self) -> str:
        """Of the curvatures that say more than the one in use, the least dear; or the one in use, elsewhere. Hessians
        of classes say more where the loss has fallen since they were found."""
        ladder = ("diagonal", "gram", *self._hessian_kinds())
        above = ladder[ladder.index(self._knows) + 1 :]
        if self._knows == "classes" and self._last_loss < _FALLEN * self._hessian_loss < np.inf:
            above = ("classes", *above)
        costs = {kind: self._cost_of(kind) for kind in above}
        return min((kind for kind in above if np.isfinite(costs[kind])), key=costs.__getitem__, default=self._knows)

    def _starts_with_gram(self) -> bool:
        """Whether the Gram matrix is cheap, or is so of few rows and needed."""
        if self._cost_of("gram") <= _EVALUATIONS_FOR_GRAM:
            return True
        self._curvature.rows_per_feature = _LEAST_ROWS_PER_FEATURE
        is_dear = self._cost_of("gram") > _EVALUATIONS_FOR_CORRELATED
        self._curvature.rows_per_feature = ROWS_PER_VARIABLE
        if is_dear:
            return False
        correlated, telling = self._curvature.correlations
        if not (correlated >= _CORRELATED and telling >= _LEAST_TELLING / ROWS_PER_VARIABLE):
            return False
        largest = self._indicator_variance * self._spread.mean() * np.sqrt(correlated * self.n_features)
        if largest < _ENOUGH_PENALTY * self.l2_weight:
            return False
        affordable = _CHEAP / self._evaluations(0.8 * (self.n_features + self.fit_intercept) ** 3)
        least = max(_LEAST_ROWS_PER_FEATURE, _LEAST_TELLING / telling)
        self._curvature.rows_per_feature = int(np.ceil(np.clip(affordable, least, ROWS_PER_VARIABLE)))
        return self._cost_of("gram") <= _EVALUATIONS_FOR_CORRELATED

    def _cost_of_better_hessian(self) -> float:
        """Of starting with a Hessian that is kept and says more than the variables in use, in evaluations."""
        kind = self._next_kind()
        if kind in (self._knows, "gram") or self._has_large_classes or not self._loss["loss"].convex:
            return np.inf
        return _LEAST_WITH_HESSIAN + self._cost_of(kind)

    def _known_variables(self) -> Variables | ClassVariables:
        if self._knows == "diagonal":
            self.last_variables = Variables(np.sqrt(self._diagonal()))
        else:
            self.last_variables = self._gram_variables() if self._knows == "gram" else self._hessian_variables()
        return self.last_variables

    def _gram_variables(self) -> Variables:
        d, size = self.n_features, self.n_features + self.fit_intercept
        curvature = np.zeros((size, size))
        curvature[:d, :d] = self._indicator_variance * self._curvature.gram()
        # nearly collinear features: a relative ridge keeps the factor positive definite, and changes nothing else
        diagonal = self._diagonal()
        ridge = self.l2_weight + _RIDGE * diagonal
        ridge[d:] = diagonal[d:]
        ridge[self._flat] = diagonal[self._flat]
        curvature.flat[:: size + 1] += ridge
        return Variables.of_curvature(curvature)

    def _find_hessian(self, theta: np.ndarray) -> None:
        negligible = _NEGLIGIBLE if self._cost_of(self._knows, used=1.0) > _CHEAP else 0.0
        is_coupled = self._knows == "coupled"
        self._hessian, self._used = self._curvature.hessian(
            theta, is_coupled=is_coupled, negligible=negligible, n_threads=self._n_threads
        )
        self._hessian_loss, _ = self._loss_and_gradient(theta, self._last_computed)

    def _hessian_variables(self) -> Variables | ClassVariables:
        assert self._hessian is not None
        R, size = self.n_outputs, self.n_features + self.fit_intercept
        start, ridge = self._diagonal(), self._ridge()
        hessian = self._hessian.copy()
        if hessian.ndim == 3:
            hessian.reshape(R, -1)[:, :: size + 1] += ridge
            return ClassVariables(hessian) if R > 1 else Variables.of_curvature(hessian[0])
        for j in range(size):  # where all classes shift together there is no curvature, and no gradient either
            hessian[j, :, j, :] += start[j] / R
        hessian = hessian.reshape(R * size, R * size)
        hessian.flat[:: R * size + 1] += np.repeat(ridge, R)
        return Variables.of_curvature(hessian)

    def _variables_of_large_classes(self, theta: np.ndarray) -> PackedClassVariables:
        ridge = self._ridge()
        self._n_large += 1

        def factor(hessian: np.ndarray) -> PackedFactor:
            hessian.flat[:: len(hessian) + 1] += ridge
            return PackedFactor(hessian)

        return PackedClassVariables(
            self._curvature.of_each_class(
                factor, theta, _NEGLIGIBLE_IN_LARGE, dtype=self._last_computed, n_threads=self._n_threads
            )
        )

    @property
    def _indicator_variance(self) -> float:
        """Variance of the indicator of a class, on average: the curvature of the cross-entropy in a logit."""
        p, K = self._prior, len(self._prior)
        variance = p[0] * p[1] if self.n_outputs == 1 else (1.0 - p @ p) / K
        return max(float(variance), 0.01 * (1.0 - 1.0 / K) / K)  # a prior of one class must not make steps boundless

    def _diagonal(self) -> np.ndarray:
        """Diagonal of the curvature at `start`: one entry for each feature, and one for the intercept."""
        curvature = self._indicator_variance * self._spread + self.l2_weight
        curvature[curvature == 0.0] = 1.0
        return np.append(curvature, self._indicator_variance) if self.fit_intercept else curvature

    def _ridge(self) -> np.ndarray:
        """What the penalty adds to the Hessian's diagonal for each feature, and what keeps it positive definite."""
        start = self._diagonal()
        ridge = _RIDGE * start
        ridge[: self.n_features] += self.l2_weight
        return ridge

    def _cost_of(self, kind: str, used: float | None = None) -> float:
        """Time that a curvature and its factor take, in evaluations; inf where it would take too much memory. The
        numbers were measured, in units of what a core multiplies and adds while it evaluates."""
        R, size = self.n_outputs, self.n_features + self.fit_intercept
        if kind == "diagonal":
            return 0.0
        n_factors, order = {"gram": (1, size), "classes": (R, size), "coupled": (1, R * size)}[kind]
        is_large = kind == "classes" and self._has_large_classes
        if n_factors * order**2 > (_MOST_PACKED if is_large else _MOST_COUPLED**2):
            return np.inf
        if is_large:
            return self._cost_of_large_classes()
        n = self._curvature.n_rows_of_gram() if kind == "gram" else self._curvature.n_rows(R * size)
        n_grams = R if kind == "classes" else 1
        if kind == "coupled":
            n_grams = max(1, R * (R - 1) // 2)
        if used is None:
            used = self._used if kind == "coupled" else 1.0
        products = used * n * (0.75 * size**2 + 20.0 * size) + 250.0 * size**2
        work = 60.0 * n * size + n_grams * products + n_factors * (1.1 * order**3 / 3.0 + 300.0 * order**2 + 2e6)
        calls = 1e6 if kind == "gram" else 5e6 + (2e6 * R if kind == "coupled" and R > 1 else 0.0)
        return self._evaluations(work + calls)

    def _cost_of_large_classes(self) -> float:
        """That of the Hessians of large classes, from the share of the rows that they are made of where the last
        evaluation was; and of their factors, in what iterations may still be needed."""
        if abs(self._last_loss - self._used_at) > _NEARBY * self._last_loss:
            self._used_by_large = self._curvature.share_of_classes(self._last[0], _NEGLIGIBLE_IN_LARGE)
            self._used_at = self._last_loss
        R, n, size = self.n_outputs, self._n, self.n_features + self.fit_intercept
        n_used = self._used_by_large * n
        if R * n_used > _MOST_USED:
            return np.inf
        hessians = R * (n_used * (0.6 * size**2 + 200.0 * size) + 2000.0 * n + 1.5 * size**3 + 5e6)
        solves = _ITERATIONS_WITH_LARGE * R * 29.0 * size**2
        return self._evaluations(hessians + solves) * _LONGER ** max(0, self._n_large - 1)

    def _evaluations(self, work: float) -> float:
        """That many evaluations take as long as so many multiplications and additions. Each is followed by a step of
        L-BFGS: 0.2 ms of SciPy and Python, and what it remembers."""
        n_theta = self.n_outputs * (self.n_features + self.fit_intercept)
        step = 8e6 + 60.0 * n_theta * steps_remembered(n_theta)
        return work / (4.0 * self._stored * max(_OUTPUTS_OF_A_READ, self.n_outputs) + step)

    @property
    def _has_large_classes(self) -> bool:
        """Whether the Hessians of all classes are too large to be kept."""
        return self.n_outputs > 1 and self.n_outputs * (self.n_features + self.fit_intercept) ** 2 > _MOST_KEPT
