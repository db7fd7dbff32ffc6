"""The objective of a linear softmax model: a sum over rows, and a penalty on top.

    F(W, b) = C sum_i s_i loss_i(x_i W^T + b + offset) + (1 - l1_ratio)/2 |W|^2 + l1_ratio |W|_1

is minimised as F / (C S), with S the sum of the weights of the rows: a weighted mean of the losses plus a penalty, of
the order of one whatever the number of rows. The term in |W|_1 is left to the solver, which is told its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.linalg.blas import dsyrk

from ._kernels._linear import LinearPass
from ._kernels._moments import moments
from ._kernels._pointwise import softmax
from ._kernels._threads import effective_n_threads
from ._losses import CrossEntropy, Loss, check_loss
from ._targets import Target
from ._variables import Variables

# Logits of features whose mean is this many times their spread lose three digits of sixteen to it
_LARGE_OFFSET = 1e3
# A factor of the curvature must not cost more than this many evaluations where it may not be needed
_EVALUATIONS_FOR_GRAM = 8.0
_MOST_COUPLED = 4096  # theta that one factor may couple: its matrix holds 128 MB
_BLOCK_VALUES = 1 << 20


class LinearObjective:
    """theta -> (value, gradient), for one data set.

    `theta` holds the coefficients feature by feature, (d, R), then the R intercepts where there are any. R is 1 for two
    classes (the sigmoid form: the logit of the second class) and K for more. The intercepts are those of centred
    features: the logits of the mean row. So theta does not change with the offsets of the features, and neither X nor
    its sparsity is touched, because W (x - mean) + b = W x + (b - W mean).

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d), float32 or float64
        Read in place. The arithmetic is in float64 for either type: in float32 the objective would be quantised to
        1e-7, and the optimiser stops where it can no longer see a decrease.
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

        dense = isinstance(X, np.ndarray)
        if dense:
            self._find_spread()
        self._pass = LinearPass(
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
        if not dense:  # after LinearPass has checked the indices
            self._find_spread()
        self._shift_intercept = self._mean if not (dense and self._has_large_offsets()) else None
        self._gram: np.ndarray | None = None
        self._uses_gram = False
        self._hessian: np.ndarray | None = None

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
        coef_t[:] = coef.T
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
        return np.ascontiguousarray(coef_t.T), intercept

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        grad = np.empty_like(theta)
        coef, intercept = self._views(theta)
        grad_coef, grad_intercept = self._views(grad)
        mean, l2_weight = self._shift_intercept, self.l2_weight
        if mean is not None:
            intercept = intercept - mean @ coef
        if self.offset is not None:
            intercept = intercept + self.offset
        loss = self._pass.loss_gradient(coef, intercept, grad_coef, grad_intercept, self._n_threads)
        if mean is not None:
            grad_coef -= np.multiply.outer(mean, grad_intercept)
        if len(self._flat):  # exactly, where rounding would leave something to divide by a spread of nothing
            grad_coef[self._flat] = 0.0
        grad /= self.weight_sum
        if l2_weight == 0.0:
            return loss / self.weight_sum, grad
        grad_coef += l2_weight * coef
        return loss / self.weight_sum + 0.5 * l2_weight * float(np.vdot(coef, coef)), grad

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

    def variables(self) -> Variables:
        """Variables in which the curvature at `start` is about the identity.

        There the Hessian is the Gram matrix of the centred features, times the variance of a class indicator, plus the
        penalty: one factor serves all classes. Where even that is dear, its diagonal serves. But where a minimisation
        with another C has left a Hessian, that is nearer.
        """
        if self._hessian is not None and self.l1_weights() is None:
            return self._hessian_variables()
        self._uses_gram = self.l1_weights() is None and self._cost(self.n_features) <= _EVALUATIONS_FOR_GRAM
        return self._gram_variables() if self._uses_gram else Variables(np.sqrt(self._diagonal()))

    def renewal_cost(self) -> float:
        """How many evaluations the next `renewed_variables` takes the time of; inf where there is none."""
        if self.l1_weights() is not None or not self._loss["loss"].convex:
            return np.inf  # the Hessian of the cross-entropy, which is all there is, says nothing there
        cost = self._cost(self.n_theta) if self.n_theta <= _MOST_COUPLED else np.inf
        if not self._uses_gram and self.n_outputs > 1 and self.n_features <= _MOST_COUPLED:
            cost = min(cost, self._cost(self.n_features))
        return 4.0 + cost  # a restart costs L-BFGS some evaluations

    def renewed_variables(self, theta: np.ndarray) -> Variables:
        """Better variables than those in use: of the Hessian at theta, or of the Gram matrix where that costs less."""
        if self._cost(self.n_theta) < self.renewal_cost():
            self._find_hessian(theta)
            return self._hessian_variables()
        self._uses_gram = True
        return self._gram_variables()

    def _find_spread(self) -> None:
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

    def _gram_variables(self) -> Variables:
        if self._gram is None:
            d = self.n_features
            gram = np.zeros((d, d))
            for rows, weight in self._centred_blocks(d):
                rows *= np.sqrt(weight)[:, None]
                gram += rows.T @ rows
            self._gram = gram
        d, size = self.n_features, self.n_features + self.fit_intercept
        curvature = np.zeros((size, size))
        curvature[:d, :d] = self._indicator_variance * self._gram
        # nearly collinear features: a relative ridge keeps the factor positive definite, and changes nothing else
        diagonal = self._diagonal()
        curvature.flat[:: size + 1] = diagonal * (1.0 + 1e-11)
        return Variables.of_curvature(curvature)

    def _find_hessian(self, theta: np.ndarray) -> None:
        """The Hessian at theta without the penalty, sum_i T_i (diag(p_i) - p_i p_i^T) (x) x_i x_i^T / S. It couples all
        classes. Right on and above the diagonal (in C order): `Variables.of_curvature` reads no more."""
        R, size = self.n_outputs, self.n_features + self.fit_intercept
        coef, intercept = self._views(theta)
        m = size * R
        hessian = np.zeros((size, R, size, R))
        for rows, weight in self._centred_blocks(m):
            logits = rows @ coef + intercept
            if self.offset is not None:
                logits += self.offset
            if self.fit_intercept:
                rows = np.hstack([rows, np.ones((len(rows), 1))])
            if R == 1:
                p = softmax(np.hstack([np.zeros_like(logits), logits]))
                rows *= np.sqrt(weight * p[:, 0] * p[:, 1])[:, None]
                hessian[:, 0, :, 0] += rows.T @ rows
                continue
            p = softmax(logits)
            for k in range(R):
                weighted = rows * np.sqrt(p[:, k] * weight)[:, None]
                hessian[:, k, :, k] += weighted.T @ weighted
            coupled = np.einsum("ij,ik->ijk", rows, p * np.sqrt(weight)[:, None]).reshape(len(rows), m)
            # Fortran's lower triangle, in place: the other one keeps what it has
            dsyrk(-1.0, coupled.T, beta=1.0, c=hessian.reshape(m, m).T, lower=1, overwrite_c=1)
        self._hessian = hessian.reshape(m, m)

    def _hessian_variables(self) -> Variables:
        assert self._hessian is not None
        R, size = self.n_outputs, self.n_features + self.fit_intercept
        m = size * R
        start = self._diagonal()
        hessian = self._hessian.copy()
        if R > 1:  # the direction in which all classes shift together has no curvature, and no gradient either
            blocks = hessian.reshape(size, R, size, R)
            for j in range(size):
                blocks[j, :, j, :] += start[j] / R
        ridge = np.full(size, self.l2_weight)
        if self.fit_intercept:
            ridge[-1] = 0.0
        hessian.flat[:: m + 1] += np.repeat(ridge + 1e-10 * start, R)
        return Variables.of_curvature(hessian)

    def _centred_blocks(self, values_per_row: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of weight > 0, centred, as new float64 arrays, with their weights, which sum to one over all blocks."""
        n = self._X.shape[0]
        total = float(n) if self._row_weight is None else float(self._row_weight.sum())
        step = max(1, _BLOCK_VALUES // max(1, values_per_row))
        for first in range(0, n, step):
            rows = self._X[first : first + step]
            rows = rows.astype(np.float64) if isinstance(rows, np.ndarray) else rows.toarray().astype(np.float64)
            if self._mean is not None:
                rows -= self._mean
            if self._row_weight is None:
                yield rows, np.full(len(rows), 1.0 / total)
            else:
                weight = self._row_weight[first : first + step] / total
                counted = weight > 0.0
                yield rows[counted], weight[counted]

    def _cost(self, coupled: int) -> float:
        """Of a factor that couples that many entries of theta, in evaluations: the products, and the factorisation."""
        n = self._X.shape[0]
        evaluation = 4.0 * self._stored * self.n_outputs + 2e5  # and what is the same for any size
        return 0.5 * (n * coupled**2 + coupled**3 / 3.0) / evaluation

    @property
    def _stored(self) -> int:
        return int(self._X.size) if isinstance(self._X, np.ndarray) else int(self._X.nnz)

    def _views(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n_coef = self.n_features * self.n_outputs
        coef = theta[:n_coef].reshape(self.n_features, self.n_outputs)
        return coef, theta[n_coef:] if self.fit_intercept else np.zeros(self.n_outputs)
