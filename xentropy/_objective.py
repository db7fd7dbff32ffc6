"""The objective of a linear softmax model: a sum over rows, and a penalty on top.

    F(W, b) = C sum_i s_i loss_i(x_i W^T + b + offset) + (1 - l1_ratio)/2 |W|^2 + l1_ratio |W|_1

is minimised as F / (C S), with S the sum of the weights of the rows: a weighted mean of the losses plus a penalty, of
the order of one whatever the number of rows. The term in |W|_1 is left to the solver, which is told its weight.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg.blas import daxpy, dger

from ._curvature import ROWS_PER_VARIABLE, Curvature
from ._kernels._linear import LinearPass
from ._kernels._moments import moments
from ._kernels._threads import effective_n_threads
from ._losses import CrossEntropy, Loss, check_loss
from ._targets import Target
from ._variables import ClassVariables, PackedClassVariables, PackedFactor, Variables

# Logits of features whose mean is this many times their spread lose three digits of sixteen to it
_LARGE_OFFSET = 1e3
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
_SAME = 0.9999  # a value that declined to this share has about the same Hessian
_NEARBY = 0.02  # ... and so has a loss that differs by this share, for another C
_WORTH_COARSE = 1 << 21  # multiplications of an evaluation, some 0.2 ms, that float32 saves enough of
_COARSE_OUTPUTS = 8  # so many save more than it takes to make floats of X, where it is not stored in them
_LEAST_COARSE = 0.01  # a loss below this is of logits whose last digits tell in it
_MOST_COARSE = 100.0  # ... and so is one of logits whose terms cancel that far: line searches failed from 400 on
# Rounding of float32 moves the mean loss of n rows by 1e-7 to 8e-7 / sqrt(n) (standard deviation, over 28 problems of
# 1800 to 300 000 rows), and by less where the loss is small. Line searches of 1800 rows failed at a fifth of this share
_COARSE_RESOLUTION, _COARSE_SHARE = 8e-6, 2e-7
_MANY_EMPTY = 0.1  # of the columns of CSR X, that are worth one more array of its indices
# Where features go together (the mean squared eigenvalue of their correlations is one where they do not), a Gram matrix
# of a few rows for each saves more than it takes; elsewhere it took up to twice the time. 20 000 embeddings of 768
# features, two classes, C=100: 354 evaluations without one, 35 with 2 rows for each, 21 with 4, 20 with 8, 16 with all;
# of their signs, C=1, 52 without, 92 with one row for each, 16 with 4. Of 60 000 images, whose border few rows show,
# 207 without, 519 with 11, 200 with 30: so of the rows that tell of a feature there must be enough, 0.9 for each
_CORRELATED, _LEAST_ROWS_PER_FEATURE, _LEAST_TELLING, _EVALUATIONS_FOR_CORRELATED = 2.5, 4, 0.9, 16.0
# ... but with a penalty of which the largest curvature is no more than so many times, some ten evaluations do without
_ENOUGH_PENALTY = 20.0
_OUTPUTS_OF_A_READ = 3  # to read X takes as long as to multiply it for so many outputs
_LEAST_WITH_HESSIAN = 5.0  # ... and so many a fit for another C takes with a Hessian from its start
_RESTART = 4.0  # evaluations that new variables cost L-BFGS
# A start from a sample of one row in _FEW pays if it holds so many rows for each entry of theta, and so many of the
# rarest class for each feature, and an evaluation of all rows takes some milliseconds
_FEW, _LEAST_ROWS_PER_VARIABLE, _ROWS_OF_RAREST_CLASS = 8, 25, 4
_WORTH_A_SAMPLE = 1 << 24
# Its Hessian saves some 8 evaluations: it may take the time of this many, and of more rows if it takes less than that
_MOST_FOR_HESSIAN, _ENOUGH_FOR_HESSIAN = 1.5, 0.6


class LinearObjective:
    """theta -> (value, gradient), for one data set.

    `theta` holds the coefficients feature by feature, (d, R), then the R intercepts where there are any; but for those
    of columns in which a CSR matrix stores nothing, which are 0. R is 1 for two classes (the sigmoid form: the logit of
    the second class) and K for more. The intercepts are those of centred features: the logits of the mean row. So theta
    does not change with the offsets of the features, and neither X nor its sparsity is touched, because
    W (x - mean) + b = W x + (b - W mean).

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d), float32 or float64
        Read in place. The arithmetic is in float64 for either type, but for `coarse`: in float32 the objective would be
        quantised to 1e-7, and the optimiser stops where it can no longer see a decrease.
    target : Target
    C : float
        Inverse strength of the penalty; inf means none. May be set again, and so may `l1_ratio`.
    l1_ratio : float
        Share of the L1 penalty.
    sample_weight : float64 ndarray of shape (n,) or None
    class_weight : float64 ndarray of shape (K,) or None
    label_smoothing : float
    loss : str or Loss
    offset : float64 ndarray of shape (R,) or None
        Added to the logits of every row.
    fit_intercept : bool
    """

    def __init__(
        self,
        X: Any,
        target: Target,
        *,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        sample_weight: np.ndarray | None = None,
        class_weight: np.ndarray | None = None,
        label_smoothing: float = 0.0,
        loss: str | Loss = "cross_entropy",
        offset: np.ndarray | None = None,
        fit_intercept: bool = True,
    ) -> None:
        dense = isinstance(X, np.ndarray)
        self.n_columns = X.shape[1]  # of the coefficients that are packed and unpacked
        self._stored_columns: np.ndarray | slice = slice(None)
        if not dense:
            X, self._stored_columns = _without_empty_columns(X)
        self.n_features = X.shape[1]
        self.n_outputs = 1 if target.n_classes == 2 else target.n_classes
        self.fit_intercept = fit_intercept
        self.C = C
        self.l1_ratio = l1_ratio
        self._X = X
        self._n = X.shape[0]
        self._loss: dict[str, Any] = {
            "class_weight": class_weight,
            "label_smoothing": label_smoothing,
            "loss": check_loss(loss),
            "offset": offset,
        }
        self._n_threads = effective_n_threads()

        self.offset = offset
        mass = target.class_mass(sample_weight)
        self.weight_sum = float(mass.sum() if class_weight is None else mass @ class_weight)
        asked = (1.0 - label_smoothing) * mass + label_smoothing / target.n_classes * mass.sum()
        if class_weight is not None:
            asked *= class_weight
        self._prior = asked / asked.sum()
        self._row_weight = target.row_mass(sample_weight, class_weight, label_smoothing)
        self._proves_separation = (
            isinstance(self._loss["loss"], CrossEntropy)
            and target.labels is not None
            and label_smoothing == 0.0
            and (fit_intercept or offset is None)
        )
        self._least_weight, self._n_alike = 1.0, float(self._n)  # rows of equal weight that would say as much
        if self._row_weight is not None:
            share = self._row_weight / self._row_weight.sum()
            self._n_alike = 1.0 / float(share @ share)
            self._least_weight = float(self._row_weight.min(initial=np.inf, where=self._row_weight > 0.0))

        if dense:
            self._find_spread()
        self._pass_with = partial(
            LinearPass,
            X,
            target.n_classes,
            labels=target.labels,
            distribution=target.distribution,
            sample_weight=sample_weight,
            class_weight=class_weight,
            label_smoothing=label_smoothing,
            loss=check_loss(loss).kernel(),
            sigmoid=self.n_outputs == 1,
            shift=self._mean if dense and self._has_large_offsets() else None,
            many_passes=True,
        )
        self._has_coarse = (
            dense
            and (self.n_outputs >= _COARSE_OUTPUTS or X.dtype == np.float32)
            and X.size * self.n_outputs >= _WORTH_COARSE
            and target.labels is not None
            and not self._has_large_offsets()
        )
        self._last_computed = "float32" if self._has_coarse else "float64"
        self._passes = {self._last_computed: self._pass_with(compute=self._last_computed)}
        if not dense:  # after LinearPass has checked the indices
            self._find_spread()
        self._shift_intercept = self._mean if not (dense and self._has_large_offsets()) else None
        self._last_loss = np.inf
        self._last_asked: np.ndarray | None = None  # theta, and in `_last` its copy and the gradient there
        self._last = np.zeros((2, self.n_theta))
        self._knows = "diagonal"  # the curvature that the variables are made of
        self.last_variables: Variables | ClassVariables | None = None
        self._curvature = Curvature(
            X,
            mean=self._mean,
            spread=self._spread,
            row_weight=self._row_weight,
            n_outputs=self.n_outputs,
            offset=offset,
        )
        self._hessian: np.ndarray | None = None
        self._n_evaluations = 0  # with these variables
        self._used = 1.0  # share of the rows that made the last Hessian of a class
        self._used_by_large, self._used_at = 1.0, np.inf  # by large classes, and the loss where that was estimated
        self._n_large = 0  # so many times since the start they were found

    @property
    def n_theta(self) -> int:
        return self.n_outputs * (self.n_features + self.fit_intercept)

    def l1_weights(self) -> np.ndarray | None:
        """Weight of |theta_j| on the scale of the values of this function, which does not include it."""
        if self.l1_ratio == 0.0 or np.isinf(self.C):
            return None
        weights = np.full(self.n_theta, self.l1_ratio / (self.C * self.weight_sum))
        self._views(weights)[1][:] = 0.0
        return weights

    @property
    def l2_weight(self) -> float:
        """Weight of |W|^2 / 2 on the scale of the values of this function."""
        return (1.0 - self.l1_ratio) / (self.C * self.weight_sum)

    def start(self) -> np.ndarray:
        """theta without information on the features: W = 0, and the intercepts those of the classes' shares."""
        theta = np.zeros(self.n_theta)
        if self.fit_intercept:
            logits = np.log(np.maximum(self._prior, 1e-8))
            theta[-self.n_outputs :] = logits[1] - logits[0] if self.n_outputs == 1 else logits - logits.mean()
            if self.offset is not None:
                theta[-self.n_outputs :] -= self.offset
        return theta

    def pack(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """theta of `coef` (R, d) and `intercept` (R,)."""
        theta = np.empty(self.n_theta)
        coef_t, centred = self._views(theta)
        coef_t[:] = coef[:, self._stored_columns].T
        centred[:] = intercept if self._mean is None else intercept + self._mean @ coef_t
        return theta

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`coef` (R, d) and `intercept` (R,) of theta. A shift common to all K classes changes no probability, and the
        L2 penalty is least where they sum to zero: so they are made to."""
        coef_t, centred = self._views(theta)
        intercept = centred.copy() if self._mean is None else centred - self._mean @ coef_t
        if self.n_outputs > 1:
            intercept -= intercept.mean()
            if self.l1_weights() is None:  # zeros of an L1 penalty stay zeros
                coef_t = coef_t - coef_t.mean(axis=1, keepdims=True)
        coef = np.zeros((self.n_outputs, self.n_columns))
        coef[:, self._stored_columns] = coef_t.T
        return coef, intercept

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        return self._penalised(theta, "float64")

    @property
    def coarse(self) -> Callable[[np.ndarray], tuple[float, np.ndarray]] | None:
        """The same function in float32 arithmetic, within about 1e-7 of it, where that takes less time."""
        if not self._has_coarse or not self._last_loss > _LEAST_COARSE:
            return None
        coef, _ = self._views(self._last[0])
        with np.errstate(over="ignore", invalid="ignore"):
            terms = np.sqrt((self._spread @ (coef * coef)).max())  # of a logit: the root of their squares' mean sum
        return partial(self._penalised, compute="float32") if terms < _MOST_COARSE else None

    @property
    def coarse_resolution(self) -> float:
        """Decreases below this drown in the rounding of `coarse`, which is that of features with their offsets."""
        rounding = _COARSE_RESOLUTION * (1.0 + self._offsets) / np.sqrt(self._n_alike)
        return min(rounding, _COARSE_SHARE * self._last_loss)

    def _penalised(self, theta: np.ndarray, compute: str) -> tuple[float, np.ndarray]:
        loss, grad = self._loss_and_gradient(theta, compute)
        l2_weight = self.l2_weight
        if l2_weight == 0.0:
            return loss, grad
        coef, _ = self._views(theta)
        daxpy(theta, grad, n=coef.size, a=l2_weight)
        return loss + 0.5 * l2_weight * float(np.vdot(coef, coef)), grad

    def _loss_and_gradient(self, theta: np.ndarray, compute: str) -> tuple[float, np.ndarray]:
        """The mean loss and its gradient, which another C asks for again where the last one has ended."""
        last_theta, last_grad = self._last
        if (
            theta is self._last_asked
            and self._last_computed in (compute, "float64")
            and np.array_equal(theta, last_theta)
        ):
            return self._last_loss, last_grad.copy()
        self._n_evaluations += 1
        if compute not in self._passes:
            self._passes.clear()  # the scratch of one is enough
            self._passes[compute] = self._pass_with(compute=compute)
        grad = np.empty_like(theta)
        coef, intercept = self._views(theta)
        grad_coef, grad_intercept = self._views(grad)
        mean = self._shift_intercept
        if mean is not None:
            intercept = intercept - mean @ coef
        if self.offset is not None:
            intercept = intercept + self.offset
        loss = self._passes[compute].loss_gradient(coef, intercept, grad_coef, grad_intercept, self._n_threads)
        if mean is not None:  # in place: BLAS reads a C-ordered matrix as its transpose
            dger(-1.0, grad_intercept, mean, a=grad_coef.T, overwrite_a=1)
        if len(self._flat):  # exactly, where rounding would leave something to divide by a spread of nothing
            grad_coef[self._flat] = 0.0
        grad /= self.weight_sum
        self._last_asked, self._last_computed, self._last_loss = theta, compute, loss / self.weight_sum
        np.copyto(last_theta, theta)
        np.copyto(last_grad, grad)
        return loss / self.weight_sum, grad

    def value(self, theta: np.ndarray) -> float:
        """What is minimised: the value at theta with the L1 term."""
        l1 = self.l1_weights()
        return self(theta)[0] + (0.0 if l1 is None else float(l1 @ np.abs(theta)))

    def unscaled(self, value: float) -> float:
        """F of a value of this function: the objective as it is written down, with C in front of the losses."""
        return value * self.weight_sum * (self.C if np.isfinite(self.C) else 1.0)

    def penalty(self, theta: np.ndarray) -> float:
        """What the penalty adds to the mean loss, the L1 term included."""
        coef, _ = self._views(theta)
        l1 = self.l1_weights()
        l2 = 0.5 * self.l2_weight * float(np.vdot(coef, coef))
        return l2 if l1 is None else l2 + float(l1 @ np.abs(theta))

    def lack_of_minimum(self, value: float) -> str | None:
        """"separated", if a value proves that there is no minimum: without a penalty, and with every row on the right
        side of all others (each row's loss is below log 2, as the sum of all is), larger coefficients are better for
        ever."""
        proof = np.log(2.0) * self._least_weight
        return "separated" if np.isinf(self.C) and self._proves_separation and value * self.weight_sum < proof else None

    def loss_on(self, X: Any, target: Target, sample_weight: np.ndarray | None) -> Callable[[np.ndarray], float]:
        """theta -> mean loss, without penalty, on other rows of the same features and classes."""
        other = LinearObjective(
            X, target, C=np.inf, sample_weight=sample_weight, fit_intercept=self.fit_intercept, **self._loss
        )

        def loss(theta: np.ndarray) -> float:
            return other(other.pack(*self.unpack(theta)))[0]

        return loss

    def variables(self, theta: np.ndarray) -> Variables | ClassVariables:
        """Variables in which the curvature at `start` is about the identity.

        There the Hessian is the Gram matrix of the centred features, times the variance of a class indicator, plus the
        penalty: one factor serves all classes. Where even that is dear, its diagonal serves. But where a minimisation
        with another C has asked for the Hessian, this one does as well: for that at theta, if the loss is another. And
        if the last one took longer than a better Hessian would have, this one starts with it.
        """
        boundless = np.flatnonzero(~np.isfinite(self._spread))
        if len(boundless):
            column = np.arange(self.n_columns)[self._stored_columns][boundless[0]]
            raise ValueError(f"squares of column {column} of X overflow float64: divide it by its largest entry")
        if self.l1_weights() is not None:
            return Variables(np.sqrt(self._diagonal()))
        if self._knows == "classes" and self._hessian is None:  # it was not kept
            self._knows, self._n_large = "diagonal", 0
        if self._knows == "diagonal" and self._starts_with_gram():
            self._knows = "gram"
        if self.last_variables is not None and self._n_evaluations >= self._cost_of_better_hessian():
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
        if kind == self._knows and (kind in ("diagonal", "gram") or decline > _SAME):
            return np.inf
        return _RESTART + self._cost_of(kind)

    def renewed_variables(self, theta: np.ndarray) -> Variables | ClassVariables:
        """Better variables than those in use: one step up the ladder, or of the Hessian at theta again."""
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

    def few_rows(self) -> LinearObjective | None:
        """The same function, of the same theta, on a sample of the rows: its minimum is near to this one's, and so is
        the Hessian there. None where that would not save more time than it takes."""
        n_few = min(self._n // _FEW, ROWS_PER_VARIABLE * self.n_theta)
        if (
            not isinstance(self._X, np.ndarray)
            or self._stored * self.n_outputs < _WORTH_A_SAMPLE
            or n_few < _LEAST_ROWS_PER_VARIABLE * self.n_theta
            or n_few * self._prior.min() < _ROWS_OF_RAREST_CLASS * self.n_features
            or self._has_large_classes
            or not np.isfinite(self._spread).all()
            or self.l1_weights() is not None
            or not self._loss["loss"].convex
        ):
            return None
        rows, times = self._curvature.sample(n_few)
        few = copy(self)
        few._n, few._row_weight, few._least_weight, few._n_alike = len(rows), None, 1.0, float(n_few)
        target = self._pass_with.keywords
        weight, mass = target["sample_weight"], float(self._n)
        if self._row_weight is not None:  # rows come in by their weight, which must not count again
            few._row_weight = times.astype(np.float64)
            weight = times * ((1.0 if weight is None else weight[rows]) / self._row_weight[rows])
            mass = self._row_weight.sum()
        few.weight_sum = n_few * (self.weight_sum / mass)
        few.C = self.C * self.weight_sum / few.weight_sum
        few._pass_with = partial(
            self._pass_with,
            rows=rows,
            labels=None if target["labels"] is None else target["labels"][rows],
            distribution=None if target["distribution"] is None else target["distribution"][rows],
            sample_weight=weight,
        )
        few._passes, few._last_asked, few._last = {}, None, np.zeros_like(self._last)
        few._knows, few._hessian, few.last_variables = "diagonal", None, None
        few._curvature = self._curvature.of_rows(rows, few._row_weight)
        for rows_per_variable in (ROWS_PER_VARIABLE, 50, _LEAST_ROWS_PER_VARIABLE):
            few._curvature.rows_per_variable = rows_per_variable
            cost = min(few._cost_of(kind) for kind in few._hessian_kinds()) * few._n / self._n
            if cost < _ENOUGH_FOR_HESSIAN:
                break
        return few if cost < _MOST_FOR_HESSIAN and few._curvature.shows_every_feature() else None

    def learn_hessian(self, few: LinearObjective, theta: np.ndarray) -> None:
        """Take the Hessian at theta from few of the rows, for the variables to start with there."""
        few._knows = min(few._hessian_kinds(), key=few._cost_of)
        few._find_hessian(theta)
        self._knows, self._hessian, self._used = few._knows, few._hessian, few._used
        self._hessian_loss, _ = self._loss_and_gradient(theta, self._last_computed)

    def _hessian_kinds(self) -> tuple[str, ...]:
        return ("classes", "coupled") if self.n_outputs > 1 else ("coupled",)

    def _next_kind(self) -> str:
        """Of the curvatures that say more than the one in use, the least dear; or the one in use, elsewhere."""
        ladder = ("diagonal", "gram", *self._hessian_kinds())
        above = ladder[ladder.index(self._knows) + 1 :]
        affordable = [kind for kind in above if np.isfinite(self._cost_of(kind))]
        return min(affordable, key=self._cost_of, default=self._knows)

    def _cost_of_better_hessian(self) -> float:
        """Of starting with a Hessian that is kept and says more than the variables in use, in evaluations."""
        kind = self._next_kind()
        if kind in (self._knows, "gram") or self._has_large_classes or not self._loss["loss"].convex:
            return np.inf
        return _LEAST_WITH_HESSIAN + self._cost_of(kind)

    def _known_variables(self) -> Variables | ClassVariables:
        self._n_evaluations = 0
        if self._knows == "diagonal":
            self.last_variables = Variables(np.sqrt(self._diagonal()))
        else:
            self.last_variables = self._gram_variables() if self._knows == "gram" else self._hessian_variables()
        return self.last_variables

    def _find_spread(self) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # `variables` names the column
            mean, variance = moments(self._X, self._row_weight, self._n_threads)
            self._mean = mean if self.fit_intercept else None
            self._spread = variance if self.fit_intercept else variance + mean * mean
            varies = self._spread > 0.0
            self._offsets = 0.0  # the largest of a feature, over its spread
            if self._mean is not None and varies.any():
                self._offsets = float((np.abs(self._mean[varies]) / np.sqrt(self._spread[varies])).max())
        self._flat = np.flatnonzero(self._spread == 0.0)

    def _has_large_offsets(self) -> bool:
        return self._offsets > _LARGE_OFFSET

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

    def _ridge(self) -> np.ndarray:
        """What the penalty adds to the Hessian's diagonal for each feature, and what keeps it positive definite."""
        start = self._diagonal()
        ridge = _RIDGE * start
        ridge[: self.n_features] += self.l2_weight
        return ridge

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

    def _evaluations(self, work: float) -> float:
        """That many evaluations take as long as so many multiplications and additions. Each is followed by a step of
        L-BFGS, 0.2 ms of SciPy and Python."""
        return work / (4.0 * self._stored * max(_OUTPUTS_OF_A_READ, self.n_outputs) + 8e6)

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

    @property
    def _has_large_classes(self) -> bool:
        """Whether the Hessians of all classes are too large to be kept."""
        return self.n_outputs > 1 and self.n_outputs * (self.n_features + self.fit_intercept) ** 2 > _MOST_KEPT

    @property
    def _stored(self) -> int:
        return self._n * self.n_features if isinstance(self._X, np.ndarray) else int(self._X.nnz)

    def _views(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The coefficients (d, R) and the intercepts (R,) in theta; zeros where it holds no intercepts."""
        n_coef = self.n_features * self.n_outputs
        intercept = theta[n_coef:] if self.fit_intercept else np.zeros(self.n_outputs)
        return theta[:n_coef].reshape(self.n_features, self.n_outputs), intercept


def _without_empty_columns(X: Any) -> tuple[Any, np.ndarray | slice]:
    """CSR X without the columns in which it stores nothing, and which are left: X itself and all where they are few,
    or where an index is outside, of which `LinearPass` tells."""
    n, d = X.shape
    if not len(X.indices) or X.indices.min() < 0 or X.indices.max() >= d:
        return X, slice(None)
    is_stored = np.zeros(d, dtype=bool)
    is_stored[X.indices] = True
    stored = np.flatnonzero(is_stored)
    if d - len(stored) < _MANY_EMPTY * d:
        return X, slice(None)
    place = np.cumsum(is_stored, dtype=X.indices.dtype) - 1
    return type(X)((X.data, place[X.indices], X.indptr), shape=(n, len(stored))), stored
