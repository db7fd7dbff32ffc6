"""The objective of a linear softmax model: a sum over rows, and a penalty on top.

    F(W, b) = C sum_i s_i loss_i(x_i W^T + b + offset) + (1 - l1_ratio)/2 |W|^2 + l1_ratio |W|_1

is minimised as F / (C S), with S the sum of the weights of the rows: a weighted mean of the losses plus a penalty, of
the order of one whatever the number of rows. The term in |W|_1 is left to the solver, which is told its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg.blas import daxpy, dger

from ._kernels._linear import LinearPass
from ._kernels._moments import moments
from ._kernels._pointwise import softmax
from ._kernels._threads import effective_n_threads
from ._losses import CrossEntropy, Loss, check_loss
from ._targets import Target
from ._variables import ClassVariables, Variables

# Logits of features whose mean is this many times their spread lose three digits of sixteen to it
_LARGE_OFFSET = 1e3
# A factor of the curvature must not cost more than this many evaluations where it may not be needed
_EVALUATIONS_FOR_GRAM = 8.0
_MOST_COUPLED = 4096  # theta that one factor may couple: its matrix holds 128 MB
# A curvature of m coupled variables is taken from this many times m rows, where there are twice as many: it only shapes
# the variables. Of 500 000 rows of 54 features and 7 classes, 5 m asked for 82 evaluations, 100 m for 25; all of them
# for 47, as what takes longer must wait longer
_ROWS_PER_VARIABLE = 100
# A feature is known by its variance alone if no more than this many of those rows make up what they tell of it
_TOO_FEW_ROWS = 20.0
_GOLDEN = 0.6180339887498949  # its multiples modulo one are spread evenly, and have no period that rows might share
# Of a block of rows: a megabyte, and more only where the product of two blocks holds more
_BLOCK_VALUES = 1 << 17
_LARGEST_BLOCK_VALUES = 1 << 20
# Rows whose curvature is below this share of the mean one are left out of a Hessian
_NEGLIGIBLE = 1e-3
_CHEAP = 4.0  # ... unless all of them take no more than so many evaluations
_RIDGE = 1e-12  # relative to the diagonal of a curvature: above what its factor rounds
_SAME = 0.9999  # a value that declined to this share has about the same Hessian
_NEARBY = 0.02  # ... and so has a loss that differs by this share, for another C
_WORTH_COARSE = 1 << 21  # multiplications of an evaluation, some 0.2 ms, that float32 saves enough of
_COARSE_OUTPUTS = 8  # so many save more than it takes to make floats of X, where it is not stored in them
_LEAST_COARSE = 0.01  # a loss below this is of logits whose last digits tell in it
_MOST_COARSE = 100.0  # ... and so is one of logits whose terms cancel that far: line searches failed from 400 on
_MANY_EMPTY = 0.1  # of the columns of CSR X, that are worth one more array of its indices
_RESTART = 4.0  # evaluations that new variables cost L-BFGS


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
        self._least_weight = 1.0
        if self._row_weight is not None:
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
        self._gram: np.ndarray | None = None
        self._hessian: np.ndarray | None = None
        self._used = 1.0  # share of the rows that made the last Hessian of a class

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

    def is_separated(self, value: float) -> bool:
        """Whether a value proves that there is no minimum: without a penalty, and with every row on the right side of
        all others (each row's loss is below log 2, as the sum of all is), larger coefficients are better for ever."""
        proof = np.log(2.0) * self._least_weight
        return bool(np.isinf(self.C) and self._proves_separation and value * self.weight_sum < proof)

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
        with another C has asked for the Hessian, this one does as well: for that at theta, if the loss is another.
        """
        boundless = np.flatnonzero(~np.isfinite(self._spread))
        if len(boundless):
            column = np.arange(self.n_columns)[self._stored_columns][boundless[0]]
            raise ValueError(f"squares of column {column} of X overflow float64: divide it by its largest entry")
        if self.l1_weights() is not None:
            return Variables(np.sqrt(self._diagonal()))
        if self._knows == "diagonal" and self._cost_of("gram") <= _EVALUATIONS_FOR_GRAM:
            self._knows = "gram"
        if self._hessian is not None:
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
        if self._knows in ("classes", "coupled"):
            self._find_hessian(theta)
        return self._known_variables()

    def support_cost(self, n_free: int) -> float:
        """How many evaluations `support_variables` takes the time of."""
        if not self._loss["loss"].convex or n_free > _MOST_COUPLED:
            return np.inf
        n = self._n_rows(n_free)
        products = n * (1.4 * n_free**2 + 20.0 * (n_free + self.n_features))  # and the rows' blocks, which are dense
        return _RESTART + self._evaluations(products + 0.4 * n_free**3 + 2e6)

    def support_variables(self, theta: np.ndarray, free: np.ndarray) -> Variables:
        """Variables of theta[free], from their Hessian at theta."""
        R = self.n_outputs
        feature, output = np.divmod(free, R)
        of_output = [np.flatnonzero(output == k) for k in range(R)]
        hessian = np.zeros((len(free), len(free)))
        of_classes, seen = np.zeros(R), self._seen()
        for rows, weight, p in self._rows_and_probabilities(theta, len(free)):
            of_classes += (weight @ (p * (1.0 - p)))[:R]
            if self._is_sampled(len(free)):
                seen.add(rows, weight)
            columns = rows[:, feature]
            if R == 1:
                hessian += columns.T @ (columns * (weight * p[:, 0] * p[:, 1])[:, None])
                continue
            for k, entries in enumerate(of_output):
                of_class = columns[:, entries]
                hessian[np.ix_(entries, entries)] += of_class.T @ (of_class * (weight * p[:, k])[:, None])
            columns *= p[:, output] * np.sqrt(weight)[:, None]
            hessian -= columns.T @ columns
        if self._is_sampled(len(free)):
            scale, unseen = seen.against_all()
            hessian *= scale[feature] * scale[feature, None]
            hessian.flat[:: len(free) + 1] += of_classes[output] * unseen[feature]
        start = self._diagonal()
        l2 = np.where(feature < self.n_features, self.l2_weight, 0.0)
        hessian.flat[:: len(free) + 1] += l2 + _RIDGE * start[feature]
        if R > 1:  # where all classes shift together the loss has no curvature
            for j in np.flatnonzero(np.bincount(feature) == R):
                together = np.flatnonzero(feature == j)
                hessian[np.ix_(together, together)] += start[j] / R
        return Variables.of_curvature(hessian)

    def _next_kind(self) -> str:
        """Of the curvatures that say more than the one in use, the least dear; or the one in use, elsewhere."""
        ladder = ("diagonal", "gram", "classes", "coupled") if self.n_outputs > 1 else ("diagonal", "gram", "coupled")
        above = ladder[ladder.index(self._knows) + 1 :]
        affordable = [kind for kind in above if np.isfinite(self._cost_of(kind))]
        return min(affordable, key=self._cost_of, default=self._knows)

    def _known_variables(self) -> Variables | ClassVariables:
        if self._knows == "diagonal":
            return Variables(np.sqrt(self._diagonal()))
        if self._knows == "gram":
            return self._gram_variables()
        return self._hessian_variables()

    def _find_spread(self) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # `variables` names the column
            mean, variance = moments(self._X, self._row_weight, self._n_threads)
            self._mean = mean if self.fit_intercept else None
            self._spread = variance if self.fit_intercept else variance + mean * mean
        self._flat = np.flatnonzero(self._spread == 0.0)

    def _has_large_offsets(self) -> bool:
        if self._mean is None:
            return False
        return bool(np.any((np.abs(self._mean) > _LARGE_OFFSET * np.sqrt(self._spread)) & (self._spread > 0.0)))

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

    def _gram_of_features(self) -> np.ndarray:
        if self._gram is None:
            d = self.n_features
            gram = np.zeros((d, d))
            seen = _Seen(self._spread, self.fit_intercept)
            for rows, weight in self._centred_blocks(d):
                if self._is_sampled(d):
                    seen.add(rows, weight)
                rows *= np.sqrt(weight)[:, None]
                gram += rows.T @ rows
            if self._is_sampled(d):
                scale, _ = seen.against_all()
                gram *= scale * scale[:, None]
                gram.flat[:: d + 1] += np.where(scale == 0.0, self._spread, 0.0)
            self._gram = gram
        return self._gram

    def _gram_variables(self) -> Variables:
        d, size = self.n_features, self.n_features + self.fit_intercept
        curvature = np.zeros((size, size))
        curvature[:d, :d] = self._indicator_variance * self._gram_of_features()
        # nearly collinear features: a relative ridge keeps the factor positive definite, and changes nothing else
        diagonal = self._diagonal()
        ridge = self.l2_weight + _RIDGE * diagonal
        ridge[d:] = diagonal[d:]
        ridge[self._flat] = diagonal[self._flat]
        curvature.flat[:: size + 1] += ridge
        return Variables.of_curvature(curvature)

    def _find_hessian(self, theta: np.ndarray) -> None:
        """The Hessian at theta without the penalty, sum_i T_i (diag(p_i) - p_i p_i^T) (x) x_i x_i^T / S: for each class
        alone (R, size, size), or coupled (size, R, size, R).

        diag(p) - p p^T is the sum over pairs of classes of p_k p_l (e_k - e_l)(e_k - e_l)^T. Most rows matter to few
        pairs, if any: the others count as that much of the mean row's x x^T, which leaves it positive semidefinite, and
        what features have in common.
        """
        R, size = self.n_outputs, self.n_features + self.fit_intercept
        blocks = np.zeros((R, size, size))
        coupled = np.zeros((size, R, size, R)) if self._knows == "coupled" and R > 1 else None
        n_used = 0
        negligible = _NEGLIGIBLE if self._cost_of(self._knows, used=1.0) > _CHEAP else 0.0
        of_classes, left, seen = np.zeros(R), np.zeros(R), self._seen()
        for rows, weight, p in self._rows_and_probabilities(theta, R * size):
            if self._is_sampled(R * size):
                seen.add(rows, weight)
            of_class = weight[:, None] * p * (1.0 - p)
            of_classes += of_class.sum(axis=0)[:R]
            floor = negligible * of_class.sum() / max(1, len(rows))
            n_used += int((of_class > floor).sum())
            p *= np.sqrt(weight)[:, None]
            for k in range(R):
                if coupled is None:
                    gram, not_used = _gram(rows, of_class[:, k], floor)
                    left[k] += not_used
                    blocks[k] += gram
                    continue
                for other in range(k + 1, R):
                    gram, not_used = _gram(rows, p[:, k] * p[:, other], floor)
                    left[[k, other]] += not_used
                    blocks[k] += gram
                    blocks[other] += gram
                    coupled[:, k, :, other] -= gram
                    coupled[:, other, :, k] -= gram
        if left.any():  # centred features, and the intercept's column of ones
            d = self.n_features
            blocks[:, :d, :d] += left[:, None, None] * self._gram_of_features()
            blocks[:, d:, d:] += left[:, None, None]
        if self._is_sampled(R * size):
            scale, unseen = seen.against_all()
            blocks *= scale * scale[:, None]
            blocks.reshape(R, -1)[:, :: size + 1] += np.outer(of_classes, unseen)
            if coupled is not None:
                coupled *= scale[:, None] * scale[:, None, None, None]
        if coupled is not None:
            for k in range(R):
                coupled[:, k, :, k] = blocks[k]
        self._hessian = blocks if coupled is None else coupled
        self._hessian_loss, _ = self._loss_and_gradient(theta, self._last_computed)
        self._used = n_used / (self._n_rows(R * size) * p.shape[1])

    def _hessian_variables(self) -> Variables | ClassVariables:
        assert self._hessian is not None
        R, size = self.n_outputs, self.n_features + self.fit_intercept
        start = self._diagonal()
        ridge = np.full(size, self.l2_weight)
        if self.fit_intercept:
            ridge[-1] = 0.0
        ridge += _RIDGE * start
        hessian = self._hessian.copy()
        if hessian.ndim == 3:
            hessian.reshape(R, -1)[:, :: size + 1] += ridge
            return ClassVariables(hessian) if R > 1 else Variables.of_curvature(hessian[0])
        for j in range(size):  # where all classes shift together there is no curvature, and no gradient either
            hessian[j, :, j, :] += start[j] / R
        hessian = hessian.reshape(R * size, R * size)
        hessian.flat[:: R * size + 1] += np.repeat(ridge, R)
        return Variables.of_curvature(hessian)

    def _rows_and_probabilities(
        self, theta: np.ndarray, n_coupled: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Blocks of centred rows, with a one for the intercept, their weights, and the probabilities of the classes."""
        coef, intercept = self._views(theta)
        for rows, weight in self._centred_blocks(n_coupled):
            logits = rows @ coef + intercept
            if self.offset is not None:
                logits += self.offset
            if self.fit_intercept:
                rows = np.hstack([rows, np.ones((len(rows), 1))])
            yield rows, weight, softmax(np.hstack([np.zeros_like(logits), logits]) if self.n_outputs == 1 else logits)

    def _centred_blocks(self, n_coupled: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of weight > 0, centred, as new float64 arrays, with their weights, which sum to one over all blocks: as
        many as a curvature of `n_coupled` variables needs."""
        n, n_rows = self._X.shape[0], self._n_rows(n_coupled)
        at, weights = self._sample(n_rows) if self._is_sampled(n_coupled) else (None, self._row_weight)
        total = 0.0 if weights is None else weights.sum()
        largest = min(_LARGEST_BLOCK_VALUES, max(_BLOCK_VALUES, 4 * self.n_features**2))
        step = max(1, largest // max(1, self.n_features))
        for first in range(0, n if at is None else len(at), step):
            block = slice(first, first + step)
            found = self._X[block if at is None else at[block]]
            rows = np.array(found, dtype=np.float64) if isinstance(found, np.ndarray) else found.toarray()
            rows = rows.astype(np.float64, copy=False)
            if self._mean is not None:
                rows -= self._mean
            if weights is None:
                yield rows, np.full(len(rows), 1.0 / n)
            else:
                weight = weights[block] / total
                counted = weight > 0.0
                yield (rows, weight) if counted.all() else (rows[counted], weight[counted])

    def _n_rows(self, n_coupled: int) -> int:
        """How many rows a curvature of so many variables is taken from."""
        n, enough = self._X.shape[0], _ROWS_PER_VARIABLE * n_coupled
        return n if n < 2 * enough else enough

    def _is_sampled(self, n_coupled: int) -> bool:
        return self._n_rows(n_coupled) < self._X.shape[0]

    def _seen(self) -> _Seen:
        """Of the features, and of the intercept's column of ones."""
        if not self.fit_intercept:
            return _Seen(self._spread, False)
        return _Seen(np.append(self._spread, 1.0), np.arange(self.n_features + 1) < self.n_features)

    def _sample(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of rows, in order, and their weights: those at so many equal steps of the sum of the weights, each at
        another place of its step. So each row comes in as often as it weighs, and the same rows every time."""
        place = (np.arange(n_rows) + np.arange(n_rows) * _GOLDEN % 1.0) / n_rows
        if self._row_weight is None:
            return (place * self._X.shape[0]).astype(np.intp), np.ones(n_rows)
        until = np.cumsum(self._row_weight)
        return np.unique(np.searchsorted(until, place * until[-1], side="right"), return_counts=True)

    def _cost_of(self, kind: str, used: float | None = None) -> float:
        """Time that a curvature and its factor take, in evaluations; inf where it would take too much memory. The
        numbers were measured, in units of what a core multiplies and adds while it evaluates."""
        R, size = self.n_outputs, self.n_features + self.fit_intercept
        if kind == "diagonal":
            return 0.0
        n_factors, order = {"gram": (1, size), "classes": (R, size), "coupled": (1, R * size)}[kind]
        if n_factors * order**2 > _MOST_COUPLED**2:
            return np.inf
        n = self._n_rows(size if kind == "gram" else R * size)
        n_grams = R if kind == "classes" else 1
        if kind == "coupled":
            n_grams = max(1, R * (R - 1) // 2)
        if used is None:
            used = self._used if kind == "coupled" else 1.0
        work = n_grams * (1.4 * used * n * size**2 + 1e6) + n_factors * (1.1 * order**3 / 3.0 + 1e6)
        return self._evaluations(work)

    def _evaluations(self, work: float) -> float:
        """That many evaluations take as long as so many multiplications and additions."""
        return work / (4.0 * self._stored * self.n_outputs + 3e6)

    @property
    def _stored(self) -> int:
        return int(self._X.size) if isinstance(self._X, np.ndarray) else int(self._X.nnz)

    def _views(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n_coef = self.n_features * self.n_outputs
        coef = theta[:n_coef].reshape(self.n_features, self.n_outputs)
        return coef, theta[n_coef:] if self.fit_intercept else np.zeros(self.n_outputs)


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


class _Seen:
    """What some of the rows tell of the features, whose variance in all rows is known: the mean square, if they are not
    centred."""

    def __init__(self, variance: np.ndarray, is_centred: np.ndarray | bool) -> None:
        self._variance, self._is_centred = variance, is_centred
        self._unit = np.where(variance > 0.0, variance, 1.0)
        self._first, self._second, self._fourth = np.zeros((3, len(variance)))

    def add(self, rows: np.ndarray, weight: np.ndarray) -> None:
        squares = rows * rows
        squares /= self._unit
        self._first += weight @ rows
        self._second += weight @ squares
        squares *= squares  # in place: each such array is as large as a block of rows
        self._fourth += weight**2 @ squares

    def against_all(self) -> tuple[np.ndarray, np.ndarray]:
        """By what to multiply each feature in these rows, zero if they tell nothing of it: where they are too few, for
        it to have its variance in all rows. And the part of the variance that these few tell too little of.

        Others are left as they are: to scale nearly collinear features, each by a little, would part them."""
        seen = np.maximum(self._second - np.where(self._is_centred, self._first**2 / self._unit, 0.0), 0.0)
        n_telling = np.divide(seen**2, self._fourth, out=np.zeros_like(seen), where=self._fourth > 0.0)
        scale = np.sqrt(np.divide(1.0, seen, out=np.zeros_like(seen), where=n_telling > 0.5))
        scale[n_telling >= _TOO_FEW_ROWS] = 1.0
        return scale, self._variance * np.maximum(0.0, 1.0 - n_telling / _TOO_FEW_ROWS)


def _gram(rows: np.ndarray, weight: np.ndarray, floor: float) -> tuple[np.ndarray, float]:
    """sum_i weight_i x_i x_i^T over the rows whose weight is above the floor, and what the others weigh together."""
    used, left = weight > floor, 0.0
    if not used.all():
        left = float(weight[~used].sum())
        rows, weight = rows[used], weight[used]
    scaled = rows * np.sqrt(weight)[:, None]
    return scaled.T @ scaled, left
