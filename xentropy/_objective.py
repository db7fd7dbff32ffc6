"""The objective of a linear softmax model: a sum over rows, and a penalty on top.

    F(W, b) = C sum_i s_i loss_i(x_i W^T + b + offset) + 1/2 |W|^2

is minimised as F / (C S), with S the sum of the weights of the rows: a weighted mean of the losses plus a penalty, of
the order of one whatever the number of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._kernels._linear import LinearPass
from ._kernels._threads import effective_n_threads
from ._losses import Loss, check_loss
from ._targets import Target


class LinearObjective:
    """theta -> (value, gradient), for one data set.

    `theta` holds the coefficients feature by feature, (d, R), then the R intercepts where there are any. R is 1 for two
    classes (the sigmoid form: the logit of the second class) and K for more.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d), float32 or float64
        Read in place. The arithmetic is in float64 for either type: in float32 the objective would be quantised to
        1e-7, and the optimiser stops where it can no longer see a decrease.
    target : Target
    C : float
        Inverse strength of the penalty; inf means none.
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
        self.offset = np.zeros(self.n_outputs) if offset is None else offset
        mass = target.class_mass(sample_weight)
        self.weight_sum = float(mass.sum() if class_weight is None else mass @ class_weight)
        self.C = C
        self.penalty = 1.0 / (C * self.weight_sum)
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
        )
        self._n_threads = effective_n_threads()

    @property
    def n_theta(self) -> int:
        return self.n_outputs * (self.n_features + self.fit_intercept)

    def pack(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """theta of `coef` (R, d) and `intercept` (R,)."""
        theta = coef.T.ravel()
        return np.concatenate([theta, intercept] if self.fit_intercept else [theta], dtype=np.float64)

    def unpack(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`coef` (R, d) and `intercept` (R,) of theta. A shift common to all K classes changes no probability, and the
        penalty is least where they sum to zero: so they are made to."""
        coef_t, intercept = self._views(theta)
        if self.n_outputs > 1:
            coef_t = coef_t - coef_t.mean(axis=1, keepdims=True)
            intercept = intercept - intercept.mean()
        return np.ascontiguousarray(coef_t.T), intercept.copy()

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        grad = np.empty_like(theta)
        coef, intercept = self._views(theta)
        grad_coef, grad_intercept = self._views(grad)
        loss = self._pass.loss_gradient(coef, intercept + self.offset, grad_coef, grad_intercept, self._n_threads)
        grad /= self.weight_sum
        grad_coef += self.penalty * coef
        return loss / self.weight_sum + 0.5 * self.penalty * float(np.vdot(coef, coef)), grad

    def unscaled(self, value: float) -> float:
        """F of a value of this function: the objective as it is written down, with C in front of the losses."""
        return value * self.weight_sum * (self.C if np.isfinite(self.C) else 1.0)

    def _views(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n_coef = self.n_features * self.n_outputs
        coef = theta[:n_coef].reshape(self.n_features, self.n_outputs)
        return coef, theta[n_coef:] if self.fit_intercept else np.zeros(self.n_outputs)
