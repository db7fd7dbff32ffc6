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

from ._conditioned import Conditioned
from ._curvature import ROWS_PER_VARIABLE, Curvature
from ._kernels._linear import LinearPass
from ._kernels._moments import moments
from ._kernels._threads import effective_n_threads
from ._losses import CrossEntropy, Loss, check_loss
from ._targets import Target

# Logits of features whose mean is this many times their spread lose three digits of sixteen to it
_LARGE_OFFSET = 1e3
_WORTH_COARSE = 1 << 21  # multiplications of an evaluation, some 0.2 ms, that float32 saves enough of
_COARSE_OUTPUTS = 8  # so many save more than it takes to make floats of X, where it is not stored in them
_LEAST_COARSE = 0.01  # a loss below this is of logits whose last digits tell in it
_MOST_COARSE = 100.0  # ... and so is one of logits whose terms cancel that far: line searches failed from 400 on
# Rounding of float32 moves the mean loss of n rows by 1e-7 to 8e-7 / sqrt(n) (standard deviation, over 28 problems of
# 1800 to 300 000 rows), and by less where the loss is small. Line searches of 1800 rows failed at a fifth of this share
_COARSE_RESOLUTION, _COARSE_SHARE = 8e-6, 2e-7
_MANY_EMPTY = 0.1  # of the columns of CSR X, that are worth one more array of its indices
# A start from a sample of one row in _FEW pays if it holds so many rows for each entry of theta, and so many of the
# rarest class for each feature, and an evaluation of all rows takes some milliseconds
_FEW, _LEAST_ROWS_PER_VARIABLE, _ROWS_OF_RAREST_CLASS = 8, 25, 4
_WORTH_A_SAMPLE = 1 << 24
# Its Hessian saves some 8 evaluations: it may take the time of this many, and of more rows if it takes less than that
_MOST_FOR_HESSIAN, _ENOUGH_FOR_HESSIAN = 1.5, 0.6


class LinearObjective(Conditioned):
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
        self._start_with(
            Curvature(
                X,
                mean=self._mean,
                spread=self._spread,
                row_weight=self._row_weight,
                n_outputs=self.n_outputs,
                offset=offset,
            )
        )

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
        few._start_with(self._curvature.of_rows(rows, few._row_weight))
        for rows_per_variable in (ROWS_PER_VARIABLE, 50, _LEAST_ROWS_PER_VARIABLE):
            few._curvature.rows_per_variable = rows_per_variable
            work = min(few._cost_of(kind) for kind in few._hessian_kinds()) / few._evaluations(1.0)
            cost = self._evaluations(work)
            if cost < _ENOUGH_FOR_HESSIAN:
                break
        return few if cost < _MOST_FOR_HESSIAN and few._curvature.shows_every_feature() else None

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
